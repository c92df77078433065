// storage: files that can be trusted. Checked HDF5, atomic replacement, checksums, JSON.
//
// The only room that calls H5*, fsync, rename. Nothing is collective: each call is local to its rank. Every return code
// of HDF5 is looked at, HDF5's own error printing is off, and its reason is carried into `err`.
#ifndef PAF_STORAGE_H
#define PAF_STORAGE_H

#include "base/base.h"

#include <jansson.h>

// ---- HDF5 (h5.c), serial driver -----------------------------------------------------------------------------------

typedef struct h5_file h5_file; // opaque: an open file must be closed, and its close can fail

typedef enum { H5_FLOAT32, H5_INT32, H5_INT64, H5_UINT8 } h5_type; // little-endian in the file

h5_file *h5_create(const char *path, error *err); // replaces what is there; NULL and err on failure
h5_file *h5_open(const char *path, error *err);   // read only
// Flushes, closes, and for a file that was created fsyncs it. The file is closed in any case; false if any part failed,
// a write before it included: then err says again what that write said.
bool h5_close(h5_file *file, error *err);
// Writes a contiguous dataset of 1 or 2 dimensions; groups in the name ("parameters/x") are made as needed.
bool h5_write(h5_file *file, const char *name, h5_type type, int dimensions, const int64_t *shape, const void *data,
              error *err);
// Shape of a dataset into shape[2] (a vector is {n, 1}); false if it is not there, is not of 1 or 2 dimensions or of
// another type, or does not lie in this file as one contiguous block (so that no element is invented by HDF5).
bool h5_shape(h5_file *file, const char *name, h5_type type, int *dimensions, int64_t shape[2], error *err);
// Reads the rectangle offset, size of a dataset into data, whose rows are row_stride elements apart. An empty rectangle
// reads nothing; one that is not within the dataset, or a dataset that h5_shape would refuse, is an error.
bool h5_read(h5_file *file, const char *name, h5_type type, const int64_t offset[2], const int64_t size[2], void *data,
             int64_t row_stride, error *err);
// Attributes are for small facts (just under 64 KB at most): text on the file's root group, each name once.
bool h5_write_note(h5_file *file, const char *name, const char *text, error *err);

// ---- files (file.c) -----------------------------------------------------------------------------------------------

// Writes path.tmp, fsyncs, renames over path, fsyncs the folder: at every instant path is whole, old or new.
bool file_write_atomic(const char *path, const void *data, size_t size, error *err);
bool file_make_folders(const char *path, error *err); // mkdir -p
// Letters, digits, `_`, `-` and `.`, the last not in front; at most 127: no such name leads out of its folder.
bool file_is_plain_name(const char *name);
bool file_exists(const char *path);
bool file_is_folder(const char *path);
bool file_rename(const char *from, const char *to, error *err); // and fsyncs the parent of to
bool file_remove_tree(const char *path, error *err);
int64_t file_size(const char *path); // -1 if there is none
// Takes the lock of this file, which is made if need be, until file_unlock or the process's end; -1 and err where
// another process holds it.
int file_lock(const char *path, error *err);
void file_unlock(int lock);
// Names in a folder, sorted, without "." and ".."; *n of them. Caller frees each and the array. NULL and err on
// failure.
char **file_list(const char *path, size_t *n, error *err);

// ---- files that a user names (file_set.c) --------------------------------------------------------------------------

typedef struct {
    char **paths;   // [n]
    int64_t *sizes; // [n]
    size_t n, paths_capacity, sizes_capacity;
    int64_t bytes; // of all
} file_set;

// The files of list, PATH[,PATH...], and of paths [n], in that order. A path is a file, or a folder: everything in it
// and below, in the order of names, but for names that begin with a dot. False and err on failure.
bool file_set_create(file_set *s, const char *list, char *const *paths, size_t n, error *err);
void file_set_destroy(file_set *s);

// ---- checksums (checksum.c): xxh3-128 as 32 hexadecimal digits (XXH128_canonical order) ---------------------------

#define CHECKSUM_SIZE 33
void checksum_bytes(char out[CHECKSUM_SIZE], const void *data, size_t size);
bool checksum_file(char out[CHECKSUM_SIZE], const char *path, error *err);
// The line that `xxhsum -H2 NAME` prints of a file NAME with this text: checksum, two spaces, name, newline. Caller
// frees.
char *checksum_seal(const char *name, const char *text, size_t size);

// ---- JSON (json.c), over jansson ----------------------------------------------------------------------------------

json_t *json_read(const char *path, error *err); // message has path:line
// The same of a file from strangers: one of more than JSON_FOREIGN_MOST bytes is refused before it is read, as a value
// can take thirty times the memory of its text.
#define JSON_FOREIGN_MOST ((int64_t)16 << 20)
json_t *json_read_foreign(const char *path, error *err);
json_t *json_parse(const char *text, size_t size, const char *where, error *err);
bool json_write(const char *path, const json_t *value, error *err); // atomically, indented
// The text of an object or array, indented and with a newline at its end, or on one line without. Numbers read back to
// the same bits. *size may be NULL. Caller frees.
char *json_format(const json_t *value, bool indented, size_t *size);
// Members of an object, typed; a missing one, or one of another type, is an error that names `where` and the key.
// A NULL fallback means that the member must be there.
bool json_get_int(const json_t *object, const char *key, int64_t *value, const int64_t *fallback, const char *where,
                  error *err);
// Reads "version" of a file's format: ERROR_VERSION where it is newer than `newest`, ERROR_INPUT where it is none.
bool json_check_version(const json_t *object, int64_t newest, const char *where, error *err);
bool json_get_double(const json_t *object, const char *key, double *value, const double *fallback, const char *where,
                     error *err);
bool json_get_string(const json_t *object, const char *key, const char **value, const char *fallback, const char *where,
                     error *err);

// ---- safetensors (safetensors.c): Hugging Face's format of tensors -------------------------------------------------
//
//     0         8                    8 + N
//     +---------+--------------------+--------------------------------------------+
//     | N, u64  | JSON, N bytes      | the tensors, one behind the other, no gaps |     little-endian, row-major
//     +---------+--------------------+--------------------------------------------+
//
//     {"__metadata__": {"format": "pt"}, "NAME": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}
//
// A header is input from strangers: every length, product and offset in it is checked before a tensor is read.

#define SAFETENSORS_DIMENSIONS 8
#define SAFETENSORS_HEADER_MOST ((int64_t)16 << 20) // bytes; a header of 100,000 tensors is no longer than that

typedef struct {
    char *name;
    const char *type; // "F32", "BF16", "I64"; static
    int dimensions;   // 0 to SAFETENSORS_DIMENSIONS
    int64_t shape[SAFETENSORS_DIMENSIONS];
    int64_t begin; // in bytes from its file's start
    size_t file;   // index of its file
} safetensors_tensor;

typedef struct safetensors safetensors; // opaque: open files

// Opens a model.safetensors, or what a folder has: model.safetensors, or the files that model.safetensors.index.json
// names, which lie in the same folder. NULL and err on failure.
safetensors *safetensors_open(const char *path, error *err);
void safetensors_close(safetensors *s); // NULL is nothing
// All tensors, *n of them, sorted by name, each name once; they belong to s.
const safetensors_tensor *safetensors_list(const safetensors *s, size_t *n);
const safetensors_tensor *safetensors_find(const safetensors *s, const char *name); // NULL if there is none
// Reads the rectangle offset, size of a tensor of 1 or 2 dimensions (a vector is {n, 1}) into data, whose rows are
// row_stride elements apart, and nothing else of the file. From F32, F16, BF16 or F64; another type or number of
// dimensions is an error that names the tensor, a rectangle outside it a programmer's.
bool safetensors_read(const safetensors *s, const safetensors_tensor *t, const int64_t offset[2], const int64_t size[2],
                      float *data, int64_t row_stride, error *err);

typedef struct safetensors_writer safetensors_writer;

// Begins a file of F32 tensors in the order of tensors [n], of which name, dimensions and shape count. It is written as
// path.tmp and gets its name at the end. NULL and err on failure.
safetensors_writer *safetensors_create(const char *path, const safetensors_tensor *tensors, size_t n, error *err);
// The next n elements, row-major, tensor after tensor.
bool safetensors_write(safetensors_writer *w, const float *data, int64_t n, error *err);
// Ends it in any case. If commit, every element must have been written: the file is fsynced and renamed, false and err
// where that fails. Otherwise it is removed.
bool safetensors_finish(safetensors_writer *w, bool commit, error *err);

#endif
