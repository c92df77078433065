// Products of matrices in tiles: each rank's tile is what the whole product holds there, and nothing else is touched.
// ranks: 1 2 3 4 5 7

// A check that fails on one rank ends all (REQUIRE), so that the others do not wait for it.
#include "../support.h"

#include "parallel/parallel.h"
#include "tensor/tensor.h"

static comm *world;
static int rank, size;

enum { MARGIN = 3 }; // columns beside a tile, in whatever it is a part of

static float draw(int matrix, int64_t row, int64_t column) {
    double pair[2];
    random_normal_pair(pair, random_stream_create(5, RANDOM_TEST, (uint64_t)matrix, 0), (uint64_t)row,
                       (uint32_t)column);
    return (float)pair[0];
}

// ---- matrices, whole and in tiles

typedef struct {
    int64_t rows, columns;
    float *whole; // [rows, columns]
    tile t;
    int64_t stride;
    float *part; // [t.rows, stride], MARGIN columns more than the tile has
} matrix;

static matrix create(const placement *p, int number, int64_t rows, int64_t columns) {
    matrix x = {.rows = rows, .columns = columns, .t = placement_tile(p, rank, rows, columns)};
    x.whole = memory_allocate((size_t)(rows * columns) + 1, sizeof *x.whole);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++) x.whole[r * columns + c] = draw(number, r, c);
    x.stride = x.t.columns.count + MARGIN;
    x.part = memory_allocate((size_t)(x.t.rows.count * x.stride) + 1, sizeof *x.part);
    for (int64_t i = 0; i < x.t.rows.count * x.stride; i++) x.part[i] = (float)i;
    for (int64_t r = 0; r < x.t.rows.count; r++)
        memcpy(x.part + r * x.stride, x.whole + (x.t.rows.first + r) * columns + x.t.columns.first,
               (size_t)x.t.columns.count * sizeof *x.part);
    return x;
}

static void destroy(matrix *x) {
    memory_free(x->whole);
    memory_free(x->part);
}

// The tile against what the whole matrix, the naive product, holds there; inner is how many terms an element has.
static void check_tile(const matrix *x, int64_t inner) {
    double tolerance = 1e-6 * (4 + sqrt((double)inner));
    for (int64_t r = 0; r < x->t.rows.count; r++)
        for (int64_t c = 0; c < x->stride; c++) {
            double got = x->part[r * x->stride + c];
            if (c >= x->t.columns.count) {
                assert_close("beside the tile", got, (float)(r * x->stride + c), 0);
                continue;
            }
            double wanted = x->whole[(x->t.rows.first + r) * x->columns + x->t.columns.first + c];
            char what[160];
            snprintf(what, sizeof what, "%lld x %lld x %lld, element %lld, %lld", (long long)x->rows,
                     (long long)x->columns, (long long)inner, (long long)(x->t.rows.first + r),
                     (long long)(x->t.columns.first + c));
            assert_close(what, got, wanted, tolerance * fmax(1, sqrt((double)inner)));
        }
}

// ---- products

static void check_product(const grid *g, const placement *p, bool ta, bool tb, int64_t m, int64_t n, int64_t k,
                          float beta) {
    matrix a = create(p, 1, ta ? k : m, ta ? m : k), b = create(p, 2, tb ? n : k, tb ? k : n), c = create(p, 3, m, n);
    naive_gemm(ta, tb, m, n, k, 1, a.whole, a.columns, b.whole, b.columns, beta, c.whole, n);
    for (int64_t r = 0; beta == 0 && r < c.t.rows.count; r++) // what is there does not matter
        for (int64_t j = 0; j < c.t.columns.count; j++) c.part[r * c.stride + j] = NAN;
    grid_product(g, ta, tb, m, n, k, a.part, a.stride, b.part, b.stride, beta, c.part, c.stride);
    check_tile(&c, k);
    destroy(&a);
    destroy(&b);
    destroy(&c);
}

static const struct {
    int64_t m, n, k;
} sizes[] = {{24, 48, 36}, {23, 47, 31}, {1, 1, 1},  {5, 3, 7},     {2, 61, 1},   {61, 2, 3},
             {3, 3, 64},   {0, 4, 4},    {4, 0, 4},  {5, 6, 0},     {40, 7, 700}, {700, 40, 9},
             {9, 700, 40}, {65, 33, 17}, {4, 9, 25}, {31, 29, 1100}};

static void check_grid(const topology *t, const placement *p) {
    grid *g = grid_create(t, p);
    REQUIRE((g != NULL) == p->owns_neurons[rank]);
    for (size_t i = 0; g && i < sizeof sizes / sizeof *sizes; i++)
        for (int way = 0; way < 4; way++)
            check_product(g, p, way & 1, way & 2, sizes[i].m, sizes[i].n, sizes[i].k, 0.5f * (float)(i % 3));
    grid_destroy(g);
}

// All ranks but the first, or the only one. Of two kinds of shape: the placement's, and all in one row.
static void test_products(void **state) {
    (void)state;
    const placement_request q = {.attention = size > 1,
                                 .ffn = size - 1,
                                 .groups = true,
                                 .tiles = true,
                                 .heads = 8,
                                 .neurons = 64,
                                 .vocabulary = 8};
    const topology t = {.team = size, .world = world, .team_comm = world, .team_rank = rank};
    placement p;
    error err = {0};
    if (!placement_create(&p, &q, &err)) FATAL("%s", err.text);
    check_grid(&t, &p);
    p.grid = (grid_shape){1, p.grid.rows * p.grid.columns};
    check_grid(&t, &p);
    placement_destroy(&p);
}

// A grid takes BLACS's contexts and MPI's communicators, and gives them back.
static void test_many_grids(void **state) {
    (void)state;
    bool everyone[] = {true, true, true, true, true, true, true};
    const placement p = {.team = size, .owns_neurons = everyone, .grid = {size, 1}};
    const topology t = {.team = size, .world = world, .team_comm = world, .team_rank = rank};
    for (int i = 0; i < 300; i++) {
        grid *g = grid_create(&t, &p);
        if (i % 50 == 0) check_product(g, &p, false, true, 10, 9, 8, 0);
        grid_destroy(g);
    }
}

int main(int argc, char **argv) {
    comm_start(&argc, &argv);
    world = comm_world();
    test_rank = rank = comm_rank(world);
    size = comm_size(world);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_products), cmocka_unit_test(test_many_grids)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_finish();
    return failed;
}
