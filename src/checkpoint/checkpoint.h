// checkpoint: shards, manifest, commit. The format is specified in checkpoints/README.md.
//
// A run folder holds checkpoint folders `step-00001200/` and the text files `latest` and `best`, which name one each. A
// checkpoint folder holds one HDF5 file per rank that wrote (`shard-00000-of-00002.h5`), the files that come with it
// (`config.json`, `config.ini`, `vocab.txt`), and `manifest.json`, which says where every piece of every logical tensor
// lies and what every file's size and checksum is. The unit is the logical tensor: who wrote it does not matter to who
// reads it.
#ifndef PAF_CHECKPOINT_H
#define PAF_CHECKPOINT_H

#include "base/base.h"
#include "parallel/parallel.h"
#include "storage/storage.h"
#include "tensor/tensor.h"

// Which checkpoint of a run.
typedef enum { CHECKPOINT_BEST, CHECKPOINT_LATEST } checkpoint_choice;
extern const char *const checkpoint_words[]; // by value, NULL behind the last

typedef struct {
    const char *name; // "vocab.txt"
    const char *data;
    size_t size;
} checkpoint_file;

// Writes run/step-N by the commit protocol: into step-N.tmp, every shard flushed, closed, fsynced, read back and
// checked; all ranks agree; rank 0 writes the manifest, fsyncs, renames the folder (a step-N that exists is renamed
// aside first and removed at the end), fsyncs the parent, and replaces `latest`. On failure nothing of it is left and
// false comes back on every rank: the newest complete checkpoint is intact. Collective over c. A rank writes the rows
// of the table of which it is the writer. state (counters, seed, task, placement, metrics ...) goes into the manifest;
// state and files are looked at on rank 0 only.
bool checkpoint_save(comm *c, const char *run, int64_t step, const parameter_table *table, bool moments,
                     const json_t *state, const checkpoint_file *files, size_t n_files, error *err);
// Makes `best` name step-N. Rank 0 only.
bool checkpoint_mark_best(const char *run, int64_t step, error *err);
// Removes all checkpoints of a run but the newest `keep` and the one that `best` names, and step-*.tmp leftovers. Rank
// 0 only.
bool checkpoint_prune(const char *run, int64_t keep, error *err);

typedef struct {
    char path[OPTION_STRING_SIZE * 2]; // of the checkpoint folder
    int64_t step;
    json_t *manifest; // the whole of it
    json_t *state;    // borrowed from the manifest
} checkpoint;

// Opens path, a checkpoint folder or a run folder, and verifies the checksums of all its files (dealt out to the
// ranks). Of a run folder, which: "latest" (the newest good one: a damaged one is named in a warning and the one before
// it tried), "best" (what `best` names, else the newest good one). Collective over c; the same result on every rank.
// Nothing there at all is ERROR_INPUT; nothing whole is ERROR_DAMAGED; one of another version is ERROR_VERSION, and
// none before it is tried.
bool checkpoint_open(checkpoint *k, comm *c, const char *path, checkpoint_choice which, error *err);
// Is there any checkpoint below this run folder? Local.
bool checkpoint_exists(const char *run);
// Fills every row of the table (values, and moments where wanted) from the pieces that intersect this rank's rectangle,
// read by hyperslab. A tensor that is missing, or has another shape, is an error that names it, unless skip(name,
// context) says that it may be missing (then the row is left as it is); skip may be NULL. Collective over c.
bool checkpoint_load(const checkpoint *k, comm *c, parameter_table *table, bool moments,
                     bool (*skip)(const char *name, void *context), void *context, error *err);
// One of the files that came with it. Caller frees. NULL and err on failure. Local.
char *checkpoint_read_file(const checkpoint *k, const char *name, size_t *size, error *err);
void checkpoint_close(checkpoint *k);

// For `paf checkpoint list|show|verify`: one rank, to standard output.
bool checkpoint_list(const char *run, FILE *out, error *err);
bool checkpoint_show(const char *path, FILE *out, error *err); // counters, layout, tensors with shapes and pieces
// Every file against its checksum; ERROR_DAMAGED, else ERROR_VERSION.
bool checkpoint_verify(const char *path, FILE *out, error *err);

#endif
