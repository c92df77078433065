// The parts of the way in from Hugging Face. Private to this room.
#ifndef PAF_HUGGINGFACE_INTERNAL_H
#define PAF_HUGGINGFACE_INTERNAL_H

#include "huggingface/huggingface.h"

// ---- tensors from Hugging Face (foreign.c) -------------------------------------------------------------------------
//
// A model.safetensors, whole or split, by paf's names: without `bert.` or `roberta.` in front, and LayerNorm's weight
// and bias so called. Local to the rank.

typedef struct {
    char *name; // paf's
    const safetensors_tensor *tensor;
    bool used;
} foreign_tensor;

typedef struct {
    const char *path; // borrowed
    safetensors *file;
    foreign_tensor *tensors; // [n], sorted by name
    size_t n;
} foreign;

// path: a folder, or a file. False and err on failure; then there is nothing to close.
bool foreign_open(foreign *f, const char *path, error *err);
void foreign_close(foreign *f);
const safetensors_tensor *foreign_find(const foreign *f, const char *name); // NULL if there is none
// Is there a tensor of this name and shape?
bool foreign_check(const foreign *f, const parameter *p, error *err);
// Reads this rank's rectangle of every row of the table, all of which foreign_check has found. Repetitions of tied
// tensors (the masked-LM head's decoder) are held against those that they repeat, and must be equal.
bool foreign_load(foreign *f, parameter_table *table, error *err);
// Names in the log what no row took, in one line, layers together.
void foreign_log_unused(const foreign *f);

#endif
