// What a rank sends. MPI lets a program wrap its functions: each MPI_X is PMPI_X by another name. So what a library
// sends, PBLAS above all, is counted as well as what we send.

#include "parallel/internal.h"

static traffic sent;

static void count(int n, MPI_Datatype type, int64_t times) {
    int size;
    CHECK_MPI(PMPI_Type_size(type, &size));
    sent.messages += times;
    sent.bytes += times * n * size;
}

traffic comm_traffic(void) { return sent; }

int MPI_Send(const void *data, int n, MPI_Datatype type, int to, int tag, MPI_Comm comm) {
    count(n, type, 1);
    return PMPI_Send(data, n, type, to, tag, comm);
}

int MPI_Rsend(const void *data, int n, MPI_Datatype type, int to, int tag, MPI_Comm comm) {
    count(n, type, 1);
    return PMPI_Rsend(data, n, type, to, tag, comm);
}

int MPI_Isend(const void *data, int n, MPI_Datatype type, int to, int tag, MPI_Comm comm, MPI_Request *request) {
    count(n, type, 1);
    return PMPI_Isend(data, n, type, to, tag, comm, request);
}

// However it is passed on, every other rank receives it once.
int MPI_Bcast(void *data, int n, MPI_Datatype type, int root, MPI_Comm comm) {
    int rank, size;
    CHECK_MPI(PMPI_Comm_rank(comm, &rank));
    CHECK_MPI(PMPI_Comm_size(comm, &size));
    if (rank == root) count(n, type, size - 1);
    return PMPI_Bcast(data, n, type, root, comm);
}

// Every rank but the root sends what it has, or what it has made of it, once.
int MPI_Reduce(const void *data, void *sum, int n, MPI_Datatype type, MPI_Op op, int root, MPI_Comm comm) {
    int rank;
    CHECK_MPI(PMPI_Comm_rank(comm, &rank));
    if (rank != root) count(n, type, 1);
    return PMPI_Reduce(data, sum, n, type, op, root, comm);
}
