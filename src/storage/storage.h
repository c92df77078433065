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
// Flushes, closes, and for a file that was created fsyncs it. The file is closed in any case; false if any part failed.
bool h5_close(h5_file *file, error *err);
// Writes a contiguous dataset of 1 or 2 dimensions; groups in the name ("parameters/x") are made as needed.
bool h5_write(h5_file *file, const char *name, h5_type type, int dimensions, const int64_t *shape, const void *data,
              error *err);
// Shape of a dataset into shape[2] (a vector is {n, 1}); false if it is not there, or is not of 1 or 2 dimensions.
bool h5_shape(h5_file *file, const char *name, h5_type type, int *dimensions, int64_t shape[2], error *err);
// Reads the rectangle offset, size of a dataset into data, whose rows are row_stride elements apart.
bool h5_read(h5_file *file, const char *name, h5_type type, const int64_t offset[2], const int64_t size[2], void *data,
             int64_t row_stride, error *err);
// Attributes are for small facts (64 KB at most): text on the file's root group.
bool h5_write_note(h5_file *file, const char *name, const char *text, error *err);

// ---- files (file.c) -----------------------------------------------------------------------------------------------

// Writes path.tmp, fsyncs, renames over path, fsyncs the folder: at every instant path is whole, old or new.
bool file_write_atomic(const char *path, const void *data, size_t size, error *err);
bool file_make_folders(const char *path, error *err); // mkdir -p
bool file_exists(const char *path);
bool file_is_folder(const char *path);
bool file_rename(const char *from, const char *to, error *err); // and fsyncs the parent of to
bool file_remove_tree(const char *path, error *err);
int64_t file_size(const char *path); // -1 if there is none
// Names in a folder, sorted, without "." and ".."; *n of them. Caller frees each and the array. NULL and err on failure.
char **file_list(const char *path, size_t *n, error *err);

// ---- checksums (checksum.c): xxh3-128 as 32 hexadecimal digits (XXH128_canonical order) ---------------------------

#define CHECKSUM_SIZE 33
void checksum_bytes(char out[CHECKSUM_SIZE], const void *data, size_t size);
bool checksum_file(char out[CHECKSUM_SIZE], const char *path, error *err);

// ---- JSON (json.c), over jansson ----------------------------------------------------------------------------------

json_t *json_read(const char *path, error *err); // message has path:line
bool json_write(const char *path, const json_t *value, error *err); // atomically, indented
// Members of an object, typed; a missing one, or one of another type, is an error that names `where` and the key.
// A NULL fallback means that the member must be there.
bool json_get_int(const json_t *object, const char *key, int64_t *value, const int64_t *fallback, const char *where,
                  error *err);
bool json_get_double(const json_t *object, const char *key, double *value, const double *fallback, const char *where,
                     error *err);
bool json_get_string(const json_t *object, const char *key, const char **value, const char *fallback,
                     const char *where, error *err);

#endif
