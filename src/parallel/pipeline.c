#include "parallel/internal.h"

#include <sched.h>
#include <string.h>

// One way of a stage's traffic. The next message is always on its way into `arriving`, also from step to step.
typedef struct {
    int from, to; // ranks of the pipeline; -1 at its ends
    float *arriving, *leaving;
    MPI_Request receive, send;
} stream;

struct pipeline {
    comm *c;
    int64_t floats;
    stream streams[2]; // by pipeline_way
};

static void post_receive(pipeline *p, pipeline_way way) {
    stream *s = &p->streams[way];
    CHECK_MPI(MPI_Irecv(s->arriving, comm_count(p->floats), MPI_FLOAT, s->from, TAG_PIPELINE + (int)way, p->c->mpi,
                        &s->receive));
}

static void open_stream(pipeline *p, pipeline_way way, int from, int to) {
    stream *s = &p->streams[way];
    *s = (stream){.from = from, .to = to, .receive = MPI_REQUEST_NULL, .send = MPI_REQUEST_NULL};
    if (to >= 0) s->leaving = memory_allocate_aligned((size_t)p->floats, sizeof(float));
    if (from < 0) return;
    s->arriving = memory_allocate_aligned((size_t)p->floats, sizeof(float));
    post_receive(p, way);
}

pipeline *pipeline_create(const topology *t, int64_t floats) {
    if (t->stages == 1) return NULL;
    pipeline *p = memory_allocate(1, sizeof *p);
    *p = (pipeline){.c = t->pipeline_comm, .floats = floats};
    int before = t->stage - 1, behind = t->stage + 1 < t->stages ? t->stage + 1 : -1;
    open_stream(p, PIPELINE_FORWARD, before, behind);
    open_stream(p, PIPELINE_BACKWARD, behind, before);
    return p;
}

int64_t pipeline_need(const topology *t, int64_t floats) {
    if (t->stages == 1) return 0;
    int neighbours = (t->stage > 0) + (t->stage + 1 < t->stages);
    return 2 * neighbours * floats * (int64_t)sizeof(float);
}

// Waits for another stage, with a hand for whoever needs one meanwhile.
static void wait(MPI_Request *request, MPI_Status *status) {
    int done;
    CHECK_MPI(MPI_Test(request, &done, status));
    if (done) return;
    span before = time_span(SPAN_BUBBLE);
    while (!done) {
        parallel_progress();
        sched_yield();
        CHECK_MPI(MPI_Test(request, &done, status));
    }
    time_span(before);
}

void pipeline_send(pipeline *p, pipeline_way way, const float *values, int64_t n) {
    stream *s = &p->streams[way];
    REQUIRE(n <= p->floats);
    wait(&s->send, MPI_STATUS_IGNORE); // for the one before
    memcpy(s->leaving, values, (size_t)n * sizeof *values);
    CHECK_MPI(MPI_Isend(s->leaving, comm_count(n), MPI_FLOAT, s->to, TAG_PIPELINE + (int)way, p->c->mpi, &s->send));
}

void pipeline_receive(pipeline *p, pipeline_way way, float *values, int64_t n) {
    stream *s = &p->streams[way];
    MPI_Status status;
    int count;
    wait(&s->receive, &status);
    CHECK_MPI(MPI_Get_count(&status, MPI_FLOAT, &count));
    REQUIRE(count == n);
    memcpy(values, s->arriving, (size_t)n * sizeof *values);
    post_receive(p, way);
}

void pipeline_destroy(pipeline *p) {
    if (!p) return;
    for (int way = 0; way < 2; way++) {
        stream *s = &p->streams[way];
        wait(&s->send, MPI_STATUS_IGNORE);
        if (s->from >= 0) {
            CHECK_MPI(MPI_Cancel(&s->receive));
            CHECK_MPI(MPI_Wait(&s->receive, MPI_STATUS_IGNORE));
        }
        memory_free(s->arriving);
        memory_free(s->leaving);
    }
    memory_free(p);
}
