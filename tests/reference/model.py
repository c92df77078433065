"""A BERT encoder with both layer designs, in plain PyTorch: what paf is held against.

Written from the formulas of the design, not from paf's code, and the usual way round: batches are padded and masked,
attention keeps its matrix of probabilities, gradients are PyTorch's. Parameters bear Hugging Face's names. There is no
dropout.

    SAF   u = LN1(x + Attn(x))      y = LN2(u + FFN(u))
    PAF   y = LN2(x + Attn(x) + FFN(x))
"""

import json
import math

import torch
from torch import nn
from torch.nn import functional as F


def named(**modules):
    """Modules under names, for the levels of a Hugging Face name that compute nothing themselves."""
    return nn.ModuleDict(modules)


class Embeddings(nn.Module):
    def __init__(self, config):
        super().__init__()
        hidden = config["hidden_size"]
        self.word_embeddings = nn.Embedding(config["vocab_size"], hidden)
        self.position_embeddings = nn.Embedding(config["max_position_embeddings"], hidden)
        self.token_type_embeddings = nn.Embedding(config["type_vocab_size"], hidden)
        self.LayerNorm = nn.LayerNorm(hidden, eps=config["layer_norm_eps"])
        self.first_position = config["pad_token_id"] + 1 if config["model_type"] == "roberta" else 0

    def forward(self, ids, types):  # both [batch, length]
        positions = self.first_position + torch.arange(ids.shape[1])
        summed = self.word_embeddings(ids) + self.position_embeddings(positions) + self.token_type_embeddings(types)
        return self.LayerNorm(summed)


class Layer(nn.Module):
    def __init__(self, config, design):
        super().__init__()
        hidden, inner, eps = config["hidden_size"], config["intermediate_size"], config["layer_norm_eps"]
        self.design = design
        self.heads = config["num_attention_heads"]
        self.attention = named(
            self=named(query=nn.Linear(hidden, hidden), key=nn.Linear(hidden, hidden), value=nn.Linear(hidden, hidden)),
            output=named(dense=nn.Linear(hidden, hidden)),
        )
        if design == "saf":
            self.attention["output"]["LayerNorm"] = nn.LayerNorm(hidden, eps=eps)
        self.intermediate = named(dense=nn.Linear(hidden, inner))
        self.output = named(dense=nn.Linear(inner, hidden), LayerNorm=nn.LayerNorm(hidden, eps=eps))

    def attend(self, x, mask):  # x [batch, length, hidden]; mask [batch, length], True where a token is real
        def by_head(u):  # [batch, heads, length, head size]
            return u.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        projection = self.attention["self"]
        query, key, value = (by_head(projection[name](x)) for name in ("query", "key", "value"))
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        scores = scores.masked_fill(~mask[:, None, None, :], -math.inf)
        context = scores.softmax(dim=-1) @ value
        return self.attention["output"]["dense"](context.transpose(1, 2).flatten(2))

    def feed_forward(self, x):
        return self.output["dense"](F.gelu(self.intermediate["dense"](x)))  # the exact GELU, by erf

    def forward(self, x, mask):
        if self.design == "saf":
            u = self.attention["output"]["LayerNorm"](x + self.attend(x, mask))
            return self.output["LayerNorm"](u + self.feed_forward(u))
        return self.output["LayerNorm"](x + self.attend(x, mask) + self.feed_forward(x))


def encoder(config, design):
    layers = nn.ModuleList(Layer(config, design) for _ in range(config["num_hidden_layers"]))
    return named(embeddings=Embeddings(config), encoder=named(layer=layers))


def encode(modules, ids, types, mask):  # [batch, length, hidden]
    x = modules["embeddings"](ids, types)
    for layer in modules["encoder"]["layer"]:
        x = layer(x, mask)
    return x


class Classifier(nn.Module):
    """Logits [batch, outputs] of the first token's final state, through BERT's pooler. One output is a regression."""

    def __init__(self, config, design, outputs):
        super().__init__()
        hidden = config["hidden_size"]
        self.bert = encoder(config, design)
        self.bert["pooler"] = named(dense=nn.Linear(hidden, hidden))
        self.classifier = nn.Linear(hidden, outputs)

    def forward(self, ids, types, mask):
        x = encode(self.bert, ids, types, mask)
        return self.classifier(torch.tanh(self.bert["pooler"]["dense"](x[:, 0])))


class Transform(nn.Module):
    """What BERT's masked-LM head does to a state before the words: LayerNorm(gelu(dense(h)))."""

    def __init__(self, config):
        super().__init__()
        hidden = config["hidden_size"]
        self.dense = nn.Linear(hidden, hidden)
        self.LayerNorm = nn.LayerNorm(hidden, eps=config["layer_norm_eps"])

    def forward(self, x):
        return self.LayerNorm(F.gelu(self.dense(x)))


class MaskedLM(nn.Module):
    """Logits [batch, length, words] at every position; the decoder is the table of word embeddings."""

    def __init__(self, config, design):
        super().__init__()
        self.bert = encoder(config, design)
        self.cls = named(predictions=named(transform=Transform(config)))
        self.cls["predictions"].bias = nn.Parameter(torch.zeros(config["vocab_size"]))

    def forward(self, ids, types, mask):
        head, words = self.cls["predictions"], self.bert["embeddings"].word_embeddings.weight
        return F.linear(head["transform"](encode(self.bert, ids, types, mask)), words, head.bias)


def read_config(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def pad(sequences, seconds):
    """ids, types and mask, each [batch, longest], of sequences of ids; seconds says where each one's second text
    begins (its tokens have type 1)."""
    shape = len(sequences), max(map(len, sequences))
    ids = torch.zeros(shape, dtype=torch.long)
    types = torch.zeros(shape, dtype=torch.long)
    mask = torch.zeros(shape, dtype=torch.bool)
    for row, (sequence, second) in enumerate(zip(sequences, seconds)):
        ids[row, : len(sequence)] = torch.tensor(sequence)
        types[row, second : len(sequence)] = 1
        mask[row, : len(sequence)] = True
    return ids, types, mask
