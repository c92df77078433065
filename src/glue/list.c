// Which tasks and designs a list has.
#include "glue/glue.h"

#include <string.h>

// The next name of a list that commas or blanks separate; false at its end.
static bool next_name(const char **at, char out[OPTION_STRING_SIZE]) {
    *at += strspn(*at, ", ");
    size_t length = strcspn(*at, ", ");
    snprintf(out, OPTION_STRING_SIZE, "%.*s", (int)length, *at);
    *at += length;
    return length > 0;
}

static bool add_task(glue_list *l, const char *name, error *err) {
    l->tasks = memory_grow(l->tasks, l->n, &l->capacity, sizeof *l->tasks);
    glue_task *new = &l->tasks[l->n++];
    *new = (glue_task){0};
    snprintf(new->name, sizeof new->name, "%s", name);
    if (!task_open(&new->task, name, err)) return error_prefix(err, "glue.tasks");
    if (!*new->task.train_file)
        return error_set(err, ERROR_INPUT,
                         "glue.tasks: %s has no training data; --glue.predict=on answers it by the MNLI model",
                         new->task.name);
    if (!file_is_plain_name(new->task.name)) // it becomes part of a folder's name
        return error_set(err, ERROR_INPUT,
                         "glue.tasks: a task's name may have letters, digits, _, - and ., '%s' has more",
                         new->task.name);
    for (size_t i = 0; i + 1 < l->n; i++)
        if (!strcmp(l->tasks[i].task.name, new->task.name))
            return error_set(err, ERROR_INPUT, "glue.tasks names %s twice", new->task.name);
    return true;
}

static bool add_design(glue_list *l, const char *name, error *err) {
    for (int d = 0; d < GLUE_DESIGNS; d++) {
        if (strcmp(name, model_design_name((model_design)d))) continue;
        if (l->designs[d]) return error_set(err, ERROR_INPUT, "glue.designs names %s twice", name);
        return l->designs[d] = true;
    }
    return error_set(err, ERROR_INPUT, "glue.designs: there is no design '%s'; there are saf and paf", name);
}

static const glue_task *find_task(const glue_list *l, const char *name) {
    for (size_t i = 0; i < l->n; i++)
        if (!strcmp(l->tasks[i].task.name, name)) return &l->tasks[i];
    return NULL;
}

bool glue_list_create(glue_list *l, const glue_settings *settings, error *err) {
    char name[OPTION_STRING_SIZE];
    *l = (glue_list){.settings = *settings};
    for (const char *at = settings->tasks; next_name(&at, name);)
        if (!add_task(l, name, err)) return false;
    for (const char *at = settings->designs; next_name(&at, name);)
        if (!add_design(l, name, err)) return false;
    if (!l->n) return error_set(err, ERROR_INPUT, "glue.tasks names no task");
    if (!l->designs[DESIGN_SAF] && !l->designs[DESIGN_PAF])
        return error_set(err, ERROR_INPUT, "glue.designs names no design; there are saf and paf");
    if (settings->intermediate == INTERMEDIATE_MNLI && !find_task(l, "mnli"))
        return error_set(err, ERROR_INPUT, "glue.intermediate=mnli wants mnli among glue.tasks");
    return true;
}

void glue_list_destroy(glue_list *l) {
    for (size_t i = 0; i < l->n; i++) task_destroy(&l->tasks[i].task);
    memory_free(l->tasks);
    *l = (glue_list){0};
}
