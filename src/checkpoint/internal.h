// What the files of this room share: the manifest as data, and the names in a run folder.
#ifndef PAF_CHECKPOINT_INTERNAL_H
#define PAF_CHECKPOINT_INTERNAL_H

#include "checkpoint/checkpoint.h"

// ---- the manifest (manifest.c) ------------------------------------------------------------------------------------
//
//     manifest.json    {"format", "version", "program", "created", "step", "files": {NAME: ...}, "tensors": {NAME:
//     ...},
//                       "state"}
//     manifest.xxh3    the checksum of manifest.json, as a line that `xxhsum -c` reads

#define MANIFEST_FORMAT "paf-checkpoint"
#define MANIFEST_VERSION 1
#define MANIFEST_FILE "manifest.json"
#define MANIFEST_SEAL "manifest.xxh3"

// What is kept of a tensor: keys of the manifest and groups of the shard files.
typedef enum { PART_PARAMETERS, PART_MOMENT1, PART_MOMENT2, PARTS } manifest_part;
extern const char *const manifest_part_names[PARTS];

// A rectangle of a logical tensor and the dataset that holds it. Strings are borrowed from the manifest.
typedef struct {
    const char *file, *dataset;
    int64_t offset[2], size[2]; // a vector has offset 0 and size 1 in its second dimension
} manifest_piece;

typedef struct {
    int dimensions;
    int64_t shape[2];
    manifest_piece *pieces[PARTS];
    size_t n[PARTS]; // 0 where the part was not saved
} manifest_tensor;

// The text of folder/manifest.json, held against its seal. Caller frees. NULL and err on failure.
char *manifest_read_text(const char *folder, error *err);
// Parses the text and checks every member and number of it: after this, only what the shards hold is open.
json_t *manifest_parse(const char *text, const char *folder, error *err);
// The same for a manifest that was built here.
bool manifest_check(const json_t *manifest, const char *where, error *err);
// A tensor's row as numbers; the tensor must be there. Freed with manifest_free_tensor, on failure too.
bool manifest_read_tensor(manifest_tensor *t, const json_t *manifest, const char *name, const char *where, error *err);
void manifest_free_tensor(manifest_tensor *t);
// Holds one file of the manifest against its size and checksum.
bool manifest_check_file(const json_t *manifest, const char *folder, const char *name, error *err);

// ---- the run folder (run.c) ---------------------------------------------------------------------------------------
//
//     RUN/step-00001200/        a checkpoint
//     RUN/step-00001800.tmp/    one that is being written, or was when its writer died: no reader looks at it
//     RUN/step-00001200.old/    one that is being replaced: it counts where step-00001200 is not there
//     RUN/latest, RUN/best      a line of text, `step-00001200`

#define CHECKPOINT_NAME_SIZE 32

void checkpoint_step_name(char out[CHECKPOINT_NAME_SIZE], int64_t step);
// The step of a name "step-00001200" with `suffix` behind it; false if it is something else.
bool checkpoint_parse_name(const char *name, const char *suffix, int64_t *step);
// Is this the path of a checkpoint, rather than of a run that holds some?
bool checkpoint_is_folder(const char *path);
// The folder of a step in a run. Caller frees.
char *checkpoint_step_path(const char *run, int64_t step);
// The steps there are, those to be trusted first coming first: the one that `latest` names, those before it from new to
// old, then those after it (an abandoned course of the same run), from new to old. Caller frees. NULL and err on
// failure.
int64_t *checkpoint_steps(const char *run, size_t *n, error *err);
// What `latest` or `best` names; -1 where there is no such file or it names nothing.
int64_t checkpoint_pointer(const char *run, const char *pointer);
bool checkpoint_point(const char *run, const char *pointer, int64_t step, error *err);
// Puts right what a writer that died left behind.
bool checkpoint_clean(const char *run, error *err);

#endif
