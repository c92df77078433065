// HDF5 through its serial driver. A chain of calls joined by && does the work; at its end one of three things is
// known: all went well, or which call failed and why. HDF5's own words are read before anything is closed, because
// every call into the library wipes its error stack.
#include "storage/storage.h"

#include <errno.h>
#include <fcntl.h>
#include <hdf5.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOTE_LIMIT (64 * 1024) // what an attribute holds in HDF5's default file format, its header included
#define REASON_SIZE 1024       // an entry of the error stack, which quotes paths

struct h5_file {
    hid_t id;
    char *path;
    bool created;
    error broken; // of a created file, once a write has failed: nothing more is written, and closing says so again
};

// What one call of ours holds open inside a file; 0 where it is not open.
typedef struct {
    hid_t set, file_space, memory_space, creation, links;
} handles;

// ---- HDF5's reason ------------------------------------------------------------------------------------------------

static herr_t copy_first_entry(unsigned n, const H5E_error2_t *entry, void *reason) {
    (void)n;
    snprintf(reason, REASON_SIZE, "%s", entry->desc && entry->desc[0] ? entry->desc : "no reason given");
    return 1; // the first entry, nearest to the cause, is enough
}

// What was tried, and the innermost entry of HDF5's error stack. Where that entry quotes the operating system ("...,
// errno = 28, error message = 'No space left on device', ..."), the quotation is all that is kept.
static bool say_why(error *err, error_kind kind, const char *verb, const char *path, const char *name) {
    char reason[REASON_SIZE] = "no reason given";
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, copy_first_entry, reason);
    static const char quotation[] = "error message = '";
    char *shown = reason, *quoted = strstr(reason, quotation);
    if (quoted) {
        shown = quoted + strlen(quotation);
        char *end = strchr(shown, '\'');
        if (end) *end = 0;
    }
    return error_set(err, kind, "cannot %s %s%s%s: %s", verb, path, name ? ": " : "", name ? name : "", shown);
}

// Of a dataset, or of the file where name is NULL. Returns false.
static bool fail(error *err, h5_file *file, const char *verb, const char *name) {
    say_why(err, file->created ? ERROR_INTERNAL : ERROR_INPUT, verb, file->path, name);
    if (file->created) file->broken = *err;
    return false;
}

static bool is_broken(const h5_file *file, error *err) {
    if (file->broken.kind != ERROR_NONE) *err = file->broken;
    return file->broken.kind != ERROR_NONE;
}

// ---- types --------------------------------------------------------------------------------------------------------

static hid_t type_in_file(h5_type type) {
    const hid_t types[] = {H5T_IEEE_F32LE, H5T_STD_I32LE, H5T_STD_I64LE, H5T_STD_U8LE}; // in the order of h5_type
    return types[type];
}

static hid_t type_in_memory(h5_type type) {
    const hid_t types[] = {H5T_NATIVE_FLOAT, H5T_NATIVE_INT32, H5T_NATIVE_INT64, H5T_NATIVE_UINT8};
    return types[type];
}

static const char *type_name(h5_type type) {
    static const char *const names[] = {"float32", "int32", "int64", "uint8"};
    return names[type];
}

// ---- open and close -----------------------------------------------------------------------------------------------

// File locks are of no use to us (a file is complete before anyone looks for it), and some network file systems do not
// have them. What HDF5 1.10 does when the program exits is of no use either, and crashes where a file could not be
// closed for want of space. Both must be said before the library starts.
static void start(void) {
    setenv("HDF5_USE_FILE_LOCKING", "FALSE", 0);
    H5dont_atexit();
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

static h5_file *file_enter(const char *path, bool create, error *err) {
    start();
    h5_file *file = memory_allocate(1, sizeof *file);
    file->path = memory_string(path);
    file->created = create;
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    bool good = access >= 0 && H5Pset_fclose_degree(access, H5F_CLOSE_STRONG) >= 0;
    if (good) {
        file->id = create ? H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, access) : H5Fopen(path, H5F_ACC_RDONLY, access);
        good = file->id >= 0;
    }
    if (!good) say_why(err, create ? ERROR_INTERNAL : ERROR_INPUT, create ? "create" : "open", path, NULL);
    if (access >= 0) H5Pclose(access);
    if (good) return file;
    memory_free(file->path);
    memory_free(file);
    return NULL;
}

h5_file *h5_create(const char *path, error *err) { return file_enter(path, true, err); }

h5_file *h5_open(const char *path, error *err) { return file_enter(path, false, err); }

// A second descriptor of the file HDF5 has open: it outlives H5Fclose, and fsync on it reports every write error since
// the file was opened.
static int descriptor_keep(const h5_file *file) {
    int *descriptor = NULL;
    if (H5Fget_vfd_handle(file->id, H5P_DEFAULT, (void **)&descriptor) < 0 || !descriptor) return -1;
    return fcntl(*descriptor, F_DUPFD_CLOEXEC, 0);
}

static bool descriptor_sync(int descriptor, const h5_file *file, error *err) {
    bool good = fsync(descriptor) == 0;
    int reason = errno;
    if (close(descriptor) != 0 && good) good = false, reason = errno;
    return good || error_set(err, ERROR_INTERNAL, "cannot write %s to disk: %s", file->path, strerror(reason));
}

bool h5_close(h5_file *file, error *err) {
    bool good = !is_broken(file, err);
    int descriptor = -1;
    if (good && file->created && (H5Fflush(file->id, H5F_SCOPE_LOCAL) < 0 || (descriptor = descriptor_keep(file)) < 0))
        good = fail(err, file, "flush", NULL);
    if (H5Fclose(file->id) < 0 && good) good = fail(err, file, "close", NULL);
    if (descriptor >= 0) {
        error ignored;
        good = descriptor_sync(descriptor, file, good ? err : &ignored) && good;
    }
    memory_free(file->path);
    memory_free(file);
    return good;
}

// Closes what is open; the dataset first, for that can still write. False, with err filled, if good and a close failed.
static bool finish(handles *h, bool good, error *err, h5_file *file, const char *name) {
    if (h->set > 0 && H5Dclose(h->set) < 0 && good) good = fail(err, file, "close", name);
    if (h->file_space > 0) H5Sclose(h->file_space);
    if (h->memory_space > 0) H5Sclose(h->memory_space);
    if (h->creation > 0) H5Pclose(h->creation);
    if (h->links > 0) H5Pclose(h->links);
    return good;
}

// ---- writing ------------------------------------------------------------------------------------------------------

// No times are stored: the same content gives the same bytes, and so the same checksum.
bool h5_write(h5_file *file, const char *name, h5_type type, int dimensions, const int64_t *shape, const void *data,
              error *err) {
    REQUIRE(file->created && (dimensions == 1 || dimensions == 2));
    hsize_t extent[2] = {0, 1};
    for (int d = 0; d < dimensions; d++) {
        REQUIRE(shape[d] >= 0);
        extent[d] = (hsize_t)shape[d];
    }
    if (is_broken(file, err)) return false;
    bool empty = extent[0] == 0 || extent[1] == 0;
    handles h = {0};
    bool good =
        (h.file_space = H5Screate_simple(dimensions, extent, NULL)) >= 0 &&
        (h.links = H5Pcreate(H5P_LINK_CREATE)) >= 0 && H5Pset_create_intermediate_group(h.links, 1) >= 0 &&
        (h.creation = H5Pcreate(H5P_DATASET_CREATE)) >= 0 && H5Pset_obj_track_times(h.creation, false) >= 0 &&
        (h.set = H5Dcreate2(file->id, name, type_in_file(type), h.file_space, h.links, h.creation, H5P_DEFAULT)) >= 0 &&
        (empty || H5Dwrite(h.set, type_in_memory(type), H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    if (!good) fail(err, file, "write", name);
    return finish(&h, good, err, file, name);
}

bool h5_write_note(h5_file *file, const char *name, const char *text, error *err) {
    REQUIRE(file->created);
    if (is_broken(file, err)) return false;
    size_t size = strlen(text) + 1;
    if (size + 256 > NOTE_LIMIT)
        return error_set(err, ERROR_INTERNAL, "cannot write %s: the note %s has %zu bytes, more than %d", file->path,
                         name, size, NOTE_LIMIT - 256);
    hid_t type = H5Tcopy(H5T_C_S1), note = -1, space = -1;
    bool good = type >= 0 && H5Tset_size(type, size) >= 0 && H5Tset_cset(type, H5T_CSET_UTF8) >= 0 &&
                (space = H5Screate(H5S_SCALAR)) >= 0 &&
                (note = H5Acreate2(file->id, name, type, space, H5P_DEFAULT, H5P_DEFAULT)) >= 0 &&
                H5Awrite(note, type, text) >= 0;
    if (!good) fail(err, file, "write", name);
    if (note >= 0 && H5Aclose(note) < 0 && good) good = fail(err, file, "close", name);
    if (space >= 0) H5Sclose(space);
    if (type >= 0) H5Tclose(type);
    return good;
}

// ---- reading ------------------------------------------------------------------------------------------------------

// A name may be a link into another file, and a dataset may keep its elements in another file or nowhere at all, when
// HDF5 would hand out zeros. Only elements that lie in this file will do.
static bool is_held_here(const h5_file *file, hid_t set, hid_t space) {
    char here[4096], there[4096];
    hid_t creation = H5Dget_create_plist(set);
    bool good = creation >= 0 && H5Fget_name(file->id, here, sizeof here) > 0 &&
                H5Fget_name(set, there, sizeof there) > 0 && !strcmp(here, there) &&
                H5Pget_layout(creation) == H5D_CONTIGUOUS && H5Pget_external_count(creation) == 0 &&
                (H5Sget_simple_extent_npoints(space) == 0 || H5Dget_offset(set) != HADDR_UNDEF);
    if (creation >= 0) H5Pclose(creation);
    return good;
}

// Opens a dataset into h->set and h->file_space, and looks at everything that reading relies on.
static bool dataset_open(handles *h, h5_file *file, const char *name, h5_type type, int *dimensions, int64_t shape[2],
                         error *err) {
    if ((h->set = H5Dopen2(file->id, name, H5P_DEFAULT)) < 0 || (h->file_space = H5Dget_space(h->set)) < 0)
        return fail(err, file, "read", name);
    hsize_t extent[2] = {0, 1};
    int n = H5Sget_simple_extent_ndims(h->file_space);
    if (n < 1 || n > 2 || H5Sget_simple_extent_dims(h->file_space, extent, NULL) < 0)
        return error_set(err, ERROR_INPUT, "%s: %s has %d dimensions, not 1 or 2", file->path, name, n);
    if (extent[0] > INT64_MAX || extent[1] > INT64_MAX)
        return error_set(err, ERROR_INPUT, "%s: %s is larger than memory can be", file->path, name);
    hid_t stored = H5Dget_type(h->set);
    bool same = stored >= 0 && H5Tequal(stored, type_in_file(type)) > 0;
    if (stored >= 0) H5Tclose(stored);
    if (!same) return error_set(err, ERROR_INPUT, "%s: %s is not little-endian %s", file->path, name, type_name(type));
    if (!is_held_here(file, h->set, h->file_space))
        return error_set(err, ERROR_INPUT, "%s: %s is not one contiguous block within the file", file->path, name);
    *dimensions = n;
    for (int d = 0; d < 2; d++) shape[d] = (int64_t)extent[d];
    return true;
}

bool h5_shape(h5_file *file, const char *name, h5_type type, int *dimensions, int64_t shape[2], error *err) {
    handles h = {0};
    bool good = dataset_open(&h, file, name, type, dimensions, shape, err);
    return finish(&h, good, err, file, name);
}

// Selects the rectangle in the file and in memory [size[0], row_stride], and reads. In the file a vector has one
// dimension, and HDF5 looks at the first entry only.
static bool rectangle_read(handles *h, const int64_t offset[2], const int64_t size[2], h5_type type, void *data,
                           int64_t row_stride) {
    hsize_t file_start[2] = {(hsize_t)offset[0], (hsize_t)offset[1]}, memory_start[2] = {0, 0};
    hsize_t count[2] = {(hsize_t)size[0], (hsize_t)size[1]}, memory[2] = {(hsize_t)size[0], (hsize_t)row_stride};
    return H5Sselect_hyperslab(h->file_space, H5S_SELECT_SET, file_start, NULL, count, NULL) >= 0 &&
           (h->memory_space = H5Screate_simple(2, memory, NULL)) >= 0 &&
           H5Sselect_hyperslab(h->memory_space, H5S_SELECT_SET, memory_start, NULL, count, NULL) >= 0 &&
           H5Dread(h->set, type_in_memory(type), h->memory_space, h->file_space, H5P_DEFAULT, data) >= 0;
}

bool h5_read(h5_file *file, const char *name, h5_type type, const int64_t offset[2], const int64_t size[2], void *data,
             int64_t row_stride, error *err) {
    REQUIRE(size[0] >= 0 && size[1] >= 0 && row_stride >= size[1]);
    handles h = {0};
    int dimensions;
    int64_t shape[2];
    bool good = dataset_open(&h, file, name, type, &dimensions, shape, err);
    for (int d = 0; d < 2 && good; d++)
        if (offset[d] < 0 || offset[d] > shape[d] || size[d] > shape[d] - offset[d])
            good = error_set(err, ERROR_INPUT, "%s: %s has %lld x %lld elements, no rectangle %lld, %lld + %lld x %lld",
                             file->path, name, (long long)shape[0], (long long)shape[1], (long long)offset[0],
                             (long long)offset[1], (long long)size[0], (long long)size[1]);
    if (good && size[0] > 0 && size[1] > 0 && !rectangle_read(&h, offset, size, type, data, row_stride))
        good = fail(err, file, "read", name);
    return finish(&h, good, err, file, name);
}
