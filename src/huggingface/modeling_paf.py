"""PAF for transformers: encoders whose attention and feed-forward blocks run side by side (arXiv 2305.13297).

    y = LayerNorm(x + dropout(attention(x)) + dropout(ffn(x)))

`paf export` writes this file beside the weights; AutoModel.from_pretrained(FOLDER, trust_remote_code=True) uses it.
"""

from types import MethodType

from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaForSequenceClassification,
    RobertaModel,
)


def attention_output(self, hidden_states, input_tensor):
    """The layer's input and the attention branch, as they are: they are summed at the layer's end."""
    return input_tensor, self.dropout(self.dense(hidden_states))


def feed_forward_chunk(self, blocks):
    x, attention = blocks
    ffn = self.output.dropout(self.output.dense(self.intermediate(x)))
    return self.output.LayerNorm(x + attention + ffn)


class SideBySide:
    """Rewires the layers of the model that it is mixed into. PAF has no attention.output.LayerNorm."""

    def __init__(self, config, *arguments, **options):
        config.chunk_size_feed_forward = 0
        super().__init__(config, *arguments, **options)
        for layer in self.base_model.encoder.layer:
            output = layer.attention.output
            del output.LayerNorm
            output.forward = MethodType(attention_output, output)
            layer.feed_forward_chunk = MethodType(feed_forward_chunk, layer)


class PafBertConfig(BertConfig):
    model_type = "paf-bert"


class PafBertModel(SideBySide, BertModel):
    config_class = PafBertConfig


class PafBertForMaskedLM(SideBySide, BertForMaskedLM):
    config_class = PafBertConfig


class PafBertForSequenceClassification(SideBySide, BertForSequenceClassification):
    config_class = PafBertConfig


class PafRobertaConfig(RobertaConfig):
    model_type = "paf-roberta"


class PafRobertaModel(SideBySide, RobertaModel):
    config_class = PafRobertaConfig


class PafRobertaForMaskedLM(SideBySide, RobertaForMaskedLM):
    config_class = PafRobertaConfig


class PafRobertaForSequenceClassification(SideBySide, RobertaForSequenceClassification):
    config_class = PafRobertaConfig
