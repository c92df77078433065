// parallel: ranks. Where a rank stands, who owns what, and how partial results become sums.
//
// The only room that calls MPI_*, and ScaLAPACK, which is built on it. Functions marked collective must be called by
// every rank of the communicator named. Waiting, but for that within a product of tiles, is ours: requests are tested,
// then the core is yielded, so that more ranks than cores do not collapse.
#ifndef PAF_PARALLEL_H
#define PAF_PARALLEL_H

#include "base/base.h"

// ---- communicators (comm.c) ---------------------------------------------------------------------------------------

typedef struct comm comm; // opaque: a wrapped MPI communicator

// Starts MPI (MPI_THREAD_FUNNELED), and makes FATAL end all ranks and only rank 0 log. Collective over the world.
void comm_start(int *argc, char ***argv);
void comm_finish(void);
// srun whose plug-in does not match this MPI makes no world of its tasks: an error then. To be asked before comm_start,
// in which Open MPI would end, and after it, where other MPIs have made a world of each task. Local; one task logs.
bool comm_check_srun(error *err);
comm *comm_world(void);
int comm_rank(const comm *c);
int comm_size(const comm *c);
// Collective over c: every rank names its color and its place; ranks of a color form a communicator.
comm *comm_split(comm *c, int color, int key);
int comm_node_cores(void); // that the ranks of this node may use together
int comm_node_ranks(void); // of the world
// Do the bytes that each rank of a node will need, which become need of all of them, fit into what it has left? Where
// the system does not say, have is 0 and they do. Collective over the world.
bool comm_node_fits(double *need, double *have);
// The ranks of c on this one's node. Collective over c.
comm *comm_split_node(comm *c);
void comm_free(comm *c);

void comm_barrier(comm *c);
// The same, for ranks that have nothing to do for long: they sleep and leave the cores to the others.
void comm_barrier_asleep(comm *c);
// If any rank comes with an error, all leave with that of the lowest such rank, and false. Collective.
bool comm_agree(comm *c, error *err);
void comm_broadcast(comm *c, void *data, size_t size, int root);
// Every rank's size bytes, in rank order, into all [comm_size, size] on every rank.
void comm_gather(comm *c, const void *mine, void *all, size_t size);
// Text of any length from the root to all; the caller frees what is returned. text is looked at on the root only.
char *comm_broadcast_text(comm *c, const char *text, int root);
// Every rank's text, in rank order, on every rank: an array of comm_size strings; free each and the array.
char **comm_gather_texts(comm *c, const char *text);
// Every rank's size bytes, each its own number, to rank 0 alone: there take sees them rank by rank, in order, and may
// look at data only while it is called.
void comm_hand_over(comm *c, const void *mine, size_t size,
                    void (*take)(void *context, int rank, const void *data, size_t size), void *context);
// values [n] of every rank summed in rank order; all ranks get the same bits.
void comm_sum_doubles(comm *c, double *values, int n);
void comm_max_doubles(comm *c, double *values, int n);
// The same for a long vector, by slices: values [n] are summed in rank order and all ranks get the same bits.
void comm_sum_floats(comm *c, float *values, int64_t n);

// Seconds to add to this rank's clock to have rank 0's: by Cristian's method, the quickest of a number of round trips.
// An offset that these cannot tell from none is 0; so it is on one node, whose monotonic clock all ranks share. *error
// is the most by which it may be off. Collective over c.
double comm_clock_offset(comm *c, double (*clock)(void), double *error);

// What this rank has sent since it was started, by messages to one rank and by PBLAS: at least so much, as the library
// may pass on what it broadcasts (traffic.c).
typedef struct {
    int64_t messages, bytes;
} traffic;
traffic comm_traffic(void);

// Tests every outstanding MPI request, so that messages move while a rank computes.
void parallel_progress(void);

// ---- options ------------------------------------------------------------------------------------------------------

// How partial sums travel over a team, and whose the FFN's matrices are: neurons of a rank, or tiles of a grid.
typedef enum { EXCHANGE_AUTO, EXCHANGE_SHARED, EXCHANGE_MPI, EXCHANGE_LOCAL } exchange_kind;
typedef enum { FFN_SPLIT, FFN_PBLAS } parallel_ffn;
extern const char *const exchange_words[], *const parallel_ffn_words[]; // by value, NULL behind the last

typedef struct {
    char team[OPTION_STRING_SIZE];    // parallel.team: "1", "A+F", auto
    int64_t replicas, stages;         // parallel.replicas, parallel.stages
    int64_t zero;                     // parallel.zero: 1 shares moments and update out over the replicas
    bool overlap;                     // parallel.overlap: of the sums over replicas with the backward pass
    bool balance;                     // parallel.balance
    char profile[OPTION_STRING_SIZE]; // parallel.profile: what `paf bench kernels --write-profile` has measured
    exchange_kind exchange;           // parallel.exchange
    parallel_ffn ffn;                 // parallel.ffn
} parallel_settings;

extern const option parallel_options[];

// ---- topology (topology.c): where a rank stands -------------------------------------------------------------------
//
// world = replicas x stages x team. The ranks of a team are neighbours, then replicas, then stages:
//
//     world rank = (stage * replicas + replica) * team + team rank
//
// A team is written A+F: its first A ranks are the attention group, the next F the FFN group; a team of one rank, `1`,
// is both.

typedef struct {
    int replicas, stages, team;
    int attention, ffn; // sizes of the groups; both 0 in a team of one
    int replica, stage, team_rank;
    bool zero;           // each replica keeps the moments of its share of the rows, and updates them
    comm *world;         // borrowed
    comm *team_comm;     // the ranks of this rank's team, in order
    comm *stage_comm;    // the teams of this stage, one a replica
    comm *model_comm;    // the teams of this replica, one a stage
    comm *replicas_comm; // who holds in other replicas what this rank holds, in their order
    comm *pipeline_comm; // who has this rank's place in the teams of other stages, in their order
    comm *ends_comm;     // of these the first and the last stage; NULL on the others, and where there is one stage
} topology;

// The sizes of a team from its text and the number of ranks it may have; `auto` is one rank, or as even as
// attention_work : ffn_work (in any unit) allows, at most heads attention ranks. A text that does not fit the ranks is
// an error that says which would, and how to say so with this option. Local.
bool topology_parse_team(int *attention, int *ffn, const char *option_name, const char *text, int ranks,
                         double attention_work, double ffn_work, int64_t heads, error *err);
// Collective over the world.
bool topology_create(topology *t, const parallel_settings *settings, double attention_work, double ffn_work,
                     int64_t heads, error *err);
// A team of the first A + F ranks of the world (1 where both are 0), for benchmarks; the other ranks get a team of one
// each. Collective over the world.
void topology_create_partial(topology *t, int attention, int ffn);
void topology_destroy(topology *t);
// The ranks that hold a stage's update between them, and those that hold the whole update: with zero all replicas have
// a part in it, otherwise each has all of it.
comm *topology_stage_update(const topology *t);
comm *topology_update(const topology *t);
// "1+1", "1": into out[32]
void topology_team_text(char *out, int attention, int ffn);

// ---- placement (placement.c): who owns what -----------------------------------------------------------------------
//
// Pure data, a function of its arguments: the same on every rank. Heads, neurons and vocabulary rows are dealt out in
// contiguous ranges, in rank order; so is each micro-batch's list of tokens.

typedef struct {
    int64_t first, count;
} range;

typedef struct {
    range heads, neurons, vocabulary;
    double work; // its share of the team's FLOP in heads and neurons
} placement_share;

typedef struct {
    int rows, columns;
} grid_shape;

typedef struct {
    int team;
    placement_share *shares; // [team]
    bool *owns_heads;        // [team] who has any; the exchange wants to know
    bool *owns_neurons;      // [team]
    bool *owns_words;        // [team] rows of the vocabulary
    bool *everyone;          // [team] all true
    // Of the ranks with neurons, in rank order, where they share the FFN's matrices in tiles, and then a rank's neurons
    // are only its share of the work; 0 x 0 where they are its own.
    grid_shape grid;
} placement;

// What a rank's share takes of its time, in any unit: so much for each piece, and so much for having any of a block.
typedef struct {
    double attention, head, ffn, neuron;
} placement_cost;

// Of a rank with so many heads and neurons.
double placement_rank_cost(const placement_cost *c, int64_t heads, int64_t neurons);

typedef struct {
    int attention, ffn; // group sizes; 0, 0 for a team of one
    bool groups;        // PAF: heads belong to the attention group, neurons to the FFN group. SAF: all ranks share both
    bool balance;       // PAF: even out the cost across the groups
    bool tiles;         // the ranks with neurons share the FFN's matrices in tiles; pure groups, whatever balance says
    int64_t heads, neurons, vocabulary;
    double head_work, neuron_work; // FLOP of one head, one neuron, per token, in which shares of work are told
    placement_cost cost;           // what balance evens out: the busiest rank has as little as can be
} placement_request;

// Where balance gains nothing, pure groups stay. More attention ranks than heads, or a rank that would own nothing, is
// an error that says which teams would do.
bool placement_create(placement *p, const placement_request *request, error *err);
void placement_destroy(placement *p);
// Consecutive layers for each stage, [stages], at least one each, so that the busiest stage has least to do: a layer
// costs 1, what comes behind the last one `last`.
void placement_stages(range *layers, int stages, int64_t n, double last);
// The tokens of a micro-batch of which a rank sums and normalises.
range placement_tokens(const placement *p, int rank, int64_t tokens);

// A rank's rectangle of a matrix in tiles; nothing of one is nothing of both.
typedef struct {
    range rows, columns;
} tile;

// Of a matrix [rows, columns] over the grid, one tile a rank, all of one size but the last ones of rows and columns:
//
//     grid 2 x 2, a matrix of 5 x 3        columns 0 1 | 2
//                                rows 0 1 2   rank a   | rank b
//                                rows 3 4     rank c   | rank d        a, b, c, d: the ranks with neurons, in order
tile placement_tile(const placement *p, int rank, int64_t rows, int64_t columns);
// Rows of the largest tile, and columns: of a part of a grid that n is dealt out to.
int64_t placement_tile_size(int64_t n, int parts);

// ---- grid (grid.c): products of matrices that lie in tiles, by PBLAS ----------------------------------------------
//
// Of whole matrices no rank has more than its tile, and the panels that travel while a product is made.

typedef struct grid grid; // opaque: a BLACS context of its own

// Over the ranks with neurons, by the placement's shape; NULL on the others. Collective over the team.
grid *grid_create(const topology *t, const placement *p);
void grid_destroy(grid *g);
// gemm's contract with alpha 1, where m, n and k are sizes of whole matrices, and a, b, c this rank's tiles of them
// with their row strides; a tile may be a part of something larger, or empty. Collective over the grid.
void grid_product(const grid *g, bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const float *a,
                  int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
// Bytes that a product takes on a rank besides the tiles, about and at most.
int64_t grid_product_need(int64_t m, int64_t n, int64_t k);

// ---- exchange (exchange*.c): the sum over a team ------------------------------------------------------------------
//
// What a layer does with it:
//
//     each rank writes its partial results    exchange_partial(e, i)    [T, H]
//     exchange_reduce                         then it may read every owner's rows of its own token slice
//     sums them, normalises, writes its slice of a slot                 exchange_slot(e, s)       [T, H]
//     exchange_gather                         then whoever needs the slot may read all of it
//
// Partials are handed out in rank order whatever the kind, so that sums have the same bits. Slots are numbered buffers
// that keep what the backward pass reads again. Collective over the team: every rank calls the same sequence.
//
//     kind    partials and slots                                  reduce and gather
//     local   a team of one: private memory                       nothing
//     shared  an MPI-3 window that all ranks of the node map      a barrier each
//     mpi     private memory                                      token slices, non-blocking point to point

typedef struct exchange exchange; // opaque

#define EXCHANGE_PARTIALS 2 // buffers a rank can hand in at a time

// What auto stands for here: local for a team of one, shared, or, where a shared window cannot be had, mpi, and says
// so. Any other kind_text is returned as it is. Collective over the team.
exchange_kind exchange_choose(const topology *t, exchange_kind kind, int64_t max_tokens, int64_t hidden, int slots);
// kind_text: auto local shared mpi. Collective over the team.
exchange *exchange_create(const topology *t, exchange_kind kind, int64_t max_tokens, int64_t hidden, int slots,
                          error *err);
void exchange_destroy(exchange *e);
const char *exchange_kind_name(const exchange *e);
// Bytes that this rank's buffers will take, a rank's part of the window where it is shared. Local; auto counts as
// shared.
int64_t exchange_need(const topology *t, exchange_kind kind, int64_t max_tokens, int64_t hidden, int slots);

// Begins a micro-batch of `tokens` tokens, dealt out by the placement.
void exchange_begin(exchange *e, const placement *p, int64_t tokens);
// The same with other rows in place of tokens: slices [team] are contiguous and in rank order, none longer than the
// slice of max_tokens tokens (the mpi kind's receive buffers rely on it).
void exchange_begin_rows(exchange *e, const range *slices);
range exchange_slice(const exchange *e);           // this rank's tokens
float *exchange_partial(exchange *e, int partial); // [T, H], this rank's own
float *exchange_slot(exchange *e, int slot);       // [T, H]

// One thing to sum or to hand round: which buffer, and which ranks of the team hand it in, or need it.
typedef struct {
    int index;
    const bool *ranks; // [team]
} exchange_item;

void exchange_reduce(exchange *e, const exchange_item *partials, int n);
// After exchange_reduce, until exchange_gather: pointers to this rank's slice of partial i, one an owner, in rank
// order.
const float *const *exchange_parts(const exchange *e, int partial, int *count);
void exchange_gather(exchange *e, const exchange_item *slots, int n);
// A little of every rank, size bytes, in rank order into all [team, size] on every rank.
void exchange_collect(exchange *e, const void *mine, void *all, size_t size);

// ---- schedule (schedule.c): in which order a stage takes its micro-batches ------------------------------------------
//
// Pure data. One forward, one backward (Narayanan et al., 2019; Megatron-LM): a stage runs ahead by as many forward
// passes as there are stages behind it, then takes turns. Of 4 micro-batches on 3 stages:
//
//     stage 0    F0 F1 F2    B0 F3       B1    B2    B3
//     stage 1       F0 F1 B0    F2 B1    F3 B2    B3
//     stage 2          F0 B0    F1 B1    F2 B2 F3 B3

typedef struct {
    bool backward;
    int64_t micro; // which micro-batch
    int flight;    // where what it keeps between its two passes lies: 0 .. schedule_flights - 1
} schedule_step;

// Micro-batches between their two passes at a time, at most.
int schedule_flights(int stage, int stages);
// step number i, 0 .. 2 * micros - 1, of a stage.
schedule_step schedule_at(int64_t i, int stage, int stages, int64_t micros);

// ---- pipeline (pipeline.c): from stage to stage ---------------------------------------------------------------------
//
// Each rank of a team sends its slice of the tokens to the rank at its place in the next team, and the gradient at them
// the other way. Nothing blocks: what is sent is copied, and what comes next is received while the rank computes.

typedef struct pipeline pipeline; // opaque

typedef enum { PIPELINE_FORWARD, PIPELINE_BACKWARD } pipeline_way;

// For messages of at most so many floats. NULL where there is one stage.
pipeline *pipeline_create(const topology *t, int64_t floats);
void pipeline_destroy(pipeline *p);
int64_t pipeline_need(const topology *t, int64_t floats); // bytes
// To the next stage, or back to the one before. values [n] may be written again at once.
void pipeline_send(pipeline *p, pipeline_way way, const float *values, int64_t n);
// What the stage before sent, or the one behind; messages of n floats, in the order in which they were sent.
void pipeline_receive(pipeline *p, pipeline_way way, float *values, int64_t n);

// ---- reduction (reduction.c): over the replicas ---------------------------------------------------------------------
//
// The rows of a tensor are dealt out to the replicas: replica r of n sums rows [rows r / n, rows (r + 1) / n), in rank
// order, so that all get the same bits. Jobs are done in the background, in pieces, whenever parallel_progress is
// called; every replica adds the same jobs in the same order.

typedef struct reduction reduction; // opaque

reduction *reduction_create(comm *replicas); // borrowed; NULL where it is one rank
void reduction_destroy(reduction *r);
int64_t reduction_need(int replicas); // bytes
range reduction_share(int64_t rows, int replica, int replicas);
// values [rows, columns] become their sums over the replicas, in every replica or, without gather, in this one's own
// rows; what the others then hold is undefined. Nobody may look at values until reduction_finish.
void reduction_add_sum(reduction *r, float *values, int64_t rows, int64_t columns, bool gather);
// Every replica gets each one's own rows.
void reduction_add_gather(reduction *r, float *values, int64_t rows, int64_t columns);
void reduction_finish(reduction *r); // waits until all jobs are done

#endif
