// What a function says on standard error, and whether it ends the program: it runs in a process of its own.
#ifndef PAF_TESTS_SPEECH_H
#define PAF_TESTS_SPEECH_H

#include "../support.h"

#include <sys/resource.h>
#include <sys/wait.h>

// Runs act in a child; what it says goes into said [size]. Returns the child's wait status.
static inline int hear(void (*act)(void), char *said, size_t size) {
    int ends[2], status;
    fflush(NULL); // or the child would say again what waits in the buffers
    if (pipe(ends)) FATAL("no pipe");
    pid_t child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        act();
        fflush(NULL);
        _exit(0);
    }
    close(ends[1]);
    FILE *in = fdopen(ends[0], "r");
    said[fread(said, 1, size - 1, in)] = 0;
    fclose(in);
    waitpid(child, &status, 0);
    return status;
}

// The program is to be ended by abort, with these words.
#define assert_dies(act, words)                                                                                        \
    do {                                                                                                               \
        char said_[4096];                                                                                              \
        int status_ = hear(act, said_, sizeof said_);                                                                  \
        if (!WIFSIGNALED(status_) || WTERMSIG(status_) != SIGABRT) fail_msg("it went on: %s", said_);                  \
        if (!strstr(said_, words)) fail_msg("it said: %s", said_);                                                     \
    } while (0)

#endif
