// Matrices in tiles: the one place that calls BLACS and PBLAS.
//
// These are Fortran's and see a row-major matrix transposed. So the BLACS grid lies across ours: its process rows are
// our columns; and a product is c^T = op(b)^T op(a)^T.

#include "parallel/internal.h"

#include <string.h>

#define PANEL 512 // columns or rows of a matrix that travel at a time

// No header of Debian's declares them.
int Csys2blacs_handle(MPI_Comm comm);
void Cfree_blacs_system_handle(int handle);
void Cblacs_gridinit(int *context, const char *order, int rows, int columns);
void Cblacs_gridinfo(int context, int *rows, int *columns, int *row, int *column);
void Cblacs_gridexit(int context);
void psgemm_(const char *transpose_a, const char *transpose_b, const int *m, const int *n, const int *k,
             const float *alpha, const float *a, const int *row_a, const int *column_a, const int *a_is, const float *b,
             const int *row_b, const int *column_b, const int *b_is, const float *beta, float *c, const int *row_c,
             const int *column_c, const int *c_is);
int pilaenv_(const int *context, const char *precision);

struct grid {
    MPI_Comm ranks;
    grid_shape shape;
    int handle, context; // BLACS's: of the communicator, and of the grid
};

// PBLAS asks this function how much may travel at a time. Its own says 32, which makes thin products: measured at T =
// H = 1024 on two ranks, 32 takes three times as long as 512, and more than that gains nothing but takes more memory.
int pilaenv_(const int *context, const char *precision) {
    (void)context, (void)precision;
    return PANEL;
}

grid *grid_create(const topology *t, const placement *p) {
    MPI_Comm ranks;
    int color = p->owns_neurons[t->team_rank] ? 0 : MPI_UNDEFINED;
    CHECK_MPI(MPI_Comm_split(t->team_comm->mpi, color, t->team_rank, &ranks));
    if (ranks == MPI_COMM_NULL) return NULL;
    grid *g = memory_allocate(1, sizeof *g);
    *g = (grid){.ranks = ranks, .shape = p->grid};
    // BLACS looks at no return code: what fails in its messages has to end the world by itself.
    CHECK_MPI(MPI_Comm_set_errhandler(ranks, MPI_ERRORS_ARE_FATAL));
    g->handle = g->context = Csys2blacs_handle(ranks);
    Cblacs_gridinit(&g->context, "Column-major", g->shape.columns, g->shape.rows);
    int rank, rows, columns, row, column;
    CHECK_MPI(MPI_Comm_rank(ranks, &rank));
    Cblacs_gridinfo(g->context, &rows, &columns, &row, &column);
    REQUIRE(row == rank % g->shape.columns && column == rank / g->shape.columns);
    return g;
}

void grid_destroy(grid *g) {
    if (!g) return;
    Cblacs_gridexit(g->context);
    Cfree_blacs_system_handle(g->handle);
    CHECK_MPI(MPI_Comm_free(&g->ranks));
    memory_free(g);
}

static int at_least_one(int64_t n) { return n > 1 ? comm_count(n) : 1; }

// ScaLAPACK's description of a matrix [rows, columns], in tiles with this row stride.
static void describe(int description[9], const grid *g, int64_t rows, int64_t columns, int64_t stride) {
    const int is[9] = {1, // dense
                       g->context,
                       comm_count(columns),
                       comm_count(rows),
                       at_least_one(placement_tile_size(columns, g->shape.columns)),
                       at_least_one(placement_tile_size(rows, g->shape.rows)),
                       0, // the process that has the first tile
                       0,
                       at_least_one(stride)};
    memcpy(description, is, sizeof is);
}

void grid_product(const grid *g, bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const float *a,
                  int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
    int a_is[9], b_is[9], c_is[9];
    describe(a_is, g, transpose_a ? k : m, transpose_a ? m : k, lda);
    describe(b_is, g, transpose_b ? n : k, transpose_b ? k : n, ldb);
    describe(c_is, g, m, n, ldc);
    const int rows = comm_count(n), columns = comm_count(m), inner = comm_count(k), first = 1;
    const float alpha = 1;
    psgemm_(transpose_b ? "T" : "N", transpose_a ? "T" : "N", &rows, &columns, &inner, &alpha, b, &first, &first, b_is,
            a, &first, &first, a_is, &beta, c, &first, &first, c_is);
}

// Two panels of each matrix: measured, a product's work space and MPI's own are 0.4 to 0.8 of this.
int64_t grid_product_need(int64_t m, int64_t n, int64_t k) {
    int64_t sum = m + n + k;
    return 2 * smaller(PANEL, sum) * sum * (int64_t)sizeof(float);
}
