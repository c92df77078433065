// Small matrix products from register tiles, in the compiler's own vectors.
#include "tensor/small_product.h"

#include "base/base.h"

// A vector register as wide as the compiler was told of, anywhere in memory; and how many of them the sums of a tile
// take beside the operands: 24 of AVX-512's 32 registers, 12 of the others' 16.
#if defined(__AVX512F__)
enum { LANES = 16, TILE_VECTORS = 4 };
#elif defined(__AVX__)
enum { LANES = 8, TILE_VECTORS = 2 };
#else
enum { LANES = 4, TILE_VECTORS = 2 };
#endif
typedef float vector __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));

enum {
    TILE_ROWS = 6,
    DEPTH = 128 // of b is used at a time: with a head's 64 columns, 32 KB
};

// One product, or a part of it.
typedef struct {
    const float *a; // element (i, d) of op(a) is a[i * row_step + d * column_step]
    int64_t row_step, column_step;
    const float *b;
    int64_t ldb;
    float *c;
    int64_t ldc;
    int64_t m, n, k;
    float alpha;
    bool accumulate;
} product;

#define INLINE __attribute__((always_inline)) static inline

// Rows i .. i + rows - 1 of vectors j .. j + vectors - 1 of c. `rows` and `vectors` are constants wherever this is
// inlined, so that the loops over them unroll and the sums stay in registers.
INLINE void tile(const int rows, const int vectors, const product *p, int64_t i, int64_t j) {
    vector sum[TILE_ROWS][TILE_VECTORS] = {{{0}}};
    const float *a = p->a + i * p->row_step, *b = p->b + j;
    int64_t row_step = p->row_step, column_step = p->column_step, ldb = p->ldb;
    for (int64_t d = p->k; d > 0; d--) {
        vector b_row[TILE_VECTORS];
        for (int v = 0; v < vectors; v++) b_row[v] = ((const vector *)b)[v];
        for (int r = 0; r < rows; r++)
            for (int v = 0; v < vectors; v++) sum[r][v] += a[r * row_step] * b_row[v];
        a += column_step;
        b += ldb;
    }
    for (int r = 0; r < rows; r++) {
        vector *c = (vector *)(p->c + (i + r) * p->ldc + j);
        for (int v = 0; v < vectors; v++) c[v] = p->accumulate ? c[v] + p->alpha * sum[r][v] : p->alpha * sum[r][v];
    }
}

// Rows are shared out evenly: a tile of one or two at the end would wait for its own sums.
INLINE void panel(const int vectors, const product *p, int64_t j) {
    int64_t tiles = (p->m + TILE_ROWS - 1) / TILE_ROWS, least = p->m / tiles, taller = p->m % tiles;
    for (int64_t t = 0, i = 0; t < tiles; t++) {
        int64_t rows = least + (t < taller);
        switch (rows) {
        case 1:
            tile(1, vectors, p, i, j);
            break;
        case 2:
            tile(2, vectors, p, i, j);
            break;
        case 3:
            tile(3, vectors, p, i, j);
            break;
        case 4:
            tile(4, vectors, p, i, j);
            break;
        case 5:
            tile(5, vectors, p, i, j);
            break;
        default:
            tile(TILE_ROWS, vectors, p, i, j);
            break;
        }
        i += rows;
    }
}

INLINE void panels(const product *p) {
    for (int64_t j = 0; j < p->n; j += TILE_VECTORS * LANES) {
        // Where a panel is no wider than SMALL_WIDTH, all are whole.
        switch (TILE_VECTORS * LANES <= SMALL_WIDTH ? TILE_VECTORS : smaller((p->n - j) / LANES, TILE_VECTORS)) {
        case 1:
            panel(1, p, j);
            break;
        case 2:
            panel(2, p, j);
            break;
        case 3:
            panel(3, p, j);
            break;
        default:
            panel(TILE_VECTORS, p, j);
            break;
        }
    }
}

void small_product(bool transpose_a, bool accumulate, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                   int64_t lda, const float *b, int64_t ldb, float *c, int64_t ldc) {
    int64_t row_step = transpose_a ? 1 : lda, column_step = transpose_a ? lda : 1;
    product p = {a, row_step, column_step, b, ldb, c, ldc, m, n, 0, alpha, accumulate};
    for (int64_t d = 0; d < k; d += DEPTH, p.b += DEPTH * ldb) {
        p.k = smaller(DEPTH, k - d);
        panels(&p);
        p.a += DEPTH * p.column_step;
        p.accumulate = true;
    }
}

// 4 x 4 elements at a time: weaving rows 0 with 2 and 1 with 3, lane by lane, twice over, is a transpose.
void small_transpose(float *b, int64_t ldb, const float *a, int64_t lda, int64_t m, int64_t n) {
    typedef float row __attribute__((vector_size(4 * sizeof(float)), aligned(4), may_alias));
    for (int64_t i = 0; i < m || i % SMALL_WIDTH; i += 4) {
        for (int64_t j = 0; j < n; j += 4) {
            row x[4] = {{0}}, y[4];
            for (int r = 0; r < 4; r++)
                if (i + r < m) x[r] = *(const row *)(a + (i + r) * lda + j);
            for (int r = 0; r < 2; r++) {
                y[2 * r] = __builtin_shufflevector(x[r], x[r + 2], 0, 4, 1, 5);
                y[2 * r + 1] = __builtin_shufflevector(x[r], x[r + 2], 2, 6, 3, 7);
            }
            for (int r = 0; r < 2; r++) {
                *(row *)(b + (j + 2 * r) * ldb + i) = __builtin_shufflevector(y[r], y[r + 2], 0, 4, 1, 5);
                *(row *)(b + (j + 2 * r + 1) * ldb + i) = __builtin_shufflevector(y[r], y[r + 2], 2, 6, 3, 7);
            }
        }
    }
}
