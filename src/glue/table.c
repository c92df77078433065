// The paper's table: tasks and metrics down, designs across, medians over seeds.
#include "glue/glue.h"

#include <stdlib.h>
#include <string.h>

// ---- statistics

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

glue_spread glue_spread_of(const double *values, size_t n) {
    if (!n) return (glue_spread){0};
    double *sorted = memory_allocate(n, sizeof *sorted);
    memcpy(sorted, values, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, compare_doubles);
    glue_spread s = {n, (sorted[(n - 1) / 2] + sorted[n / 2]) / 2, sorted[0], sorted[n - 1]};
    memory_free(sorted);
    return s;
}

static glue_spread spread(const glue_row *r, model_design d) { return glue_spread_of(r->values[d], r->n[d]); }

// ---- rows

static glue_row *find_row(glue_table *t, const char *task, const char *part, const char *metric) {
    for (size_t i = 0; i < t->n; i++)
        if (!strcmp(t->rows[i].part, part) && !strcmp(t->rows[i].metric, metric)) return &t->rows[i];
    t->rows = memory_grow(t->rows, t->n, &t->capacity, sizeof *t->rows);
    glue_row *r = &t->rows[t->n++];
    *r = (glue_row){0};
    snprintf(r->task, sizeof r->task, "%s", task);
    snprintf(r->part, sizeof r->part, "%s", part);
    snprintf(r->metric, sizeof r->metric, "%s", metric);
    return r;
}

void glue_table_add(glue_table *t, const char *task, const char *part, const char *metric, model_design design,
                    double value) {
    glue_row *r = find_row(t, task, part, metric);
    r->values[design] = memory_grow(r->values[design], r->n[design], &r->capacity[design], sizeof value);
    r->values[design][r->n[design]++] = value;
}

void glue_table_destroy(glue_table *t) {
    for (size_t i = 0; i < t->n; i++)
        for (int d = 0; d < GLUE_DESIGNS; d++) memory_free(t->rows[i].values[d]);
    memory_free(t->rows);
    *t = (glue_table){0};
}

// ---- averages

// Have all the designs that are shown a value here?
static bool is_whole(const glue_table *t, const glue_row *r) {
    for (int d = 0; d < GLUE_DESIGNS; d++)
        if (t->shown[d] && !r->n[d]) return false;
    return true;
}

int glue_table_averages(const glue_table *t, double averages[GLUE_DESIGNS]) {
    int tasks = 0;
    double sums[GLUE_DESIGNS] = {0};
    for (size_t first = 0, end; first < t->n; first = end) { // a task's rows stand together
        double score[GLUE_DESIGNS] = {0};
        bool whole = true;
        for (end = first; end < t->n && !strcmp(t->rows[end].task, t->rows[first].task); end++) {
            whole = whole && is_whole(t, &t->rows[end]);
            for (int d = 0; d < GLUE_DESIGNS; d++) score[d] += spread(&t->rows[end], (model_design)d).median;
        }
        if (!whole) continue;
        for (int d = 0; d < GLUE_DESIGNS; d++) sums[d] += score[d] / (double)(end - first);
        tasks++;
    }
    for (int d = 0; d < GLUE_DESIGNS; d++) averages[d] = tasks ? sums[d] / tasks : 0;
    return tasks;
}

// ---- CSV: fractions, for programs

static bool both(const glue_table *t) { return t->shown[DESIGN_SAF] && t->shown[DESIGN_PAF]; }

static void write_csv_row(FILE *out, const glue_table *t, const glue_row *r) {
    fprintf(out, "%s,%s", r->part, r->metric);
    for (int d = 0; d < GLUE_DESIGNS; d++) {
        if (!t->shown[d]) continue;
        glue_spread s = spread(r, (model_design)d);
        fprintf(out, ",%zu", s.n);
        if (s.n)
            fprintf(out, ",%.6f,%.6f,%.6f", s.median, s.low, s.high);
        else
            fputs(",,,", out);
    }
    if (both(t) && is_whole(t, r))
        fprintf(out, ",%.6f", spread(r, DESIGN_PAF).median - spread(r, DESIGN_SAF).median);
    else if (both(t))
        fputc(',', out);
    fputc('\n', out);
}

static void write_csv(FILE *out, const glue_table *t) {
    fputs("task,metric", out);
    for (int d = 0; d < GLUE_DESIGNS; d++) {
        const char *name = model_design_name((model_design)d);
        if (t->shown[d]) fprintf(out, ",%s_runs,%s_median,%s_least,%s_largest", name, name, name, name);
    }
    fputs(both(t) ? ",difference\n" : "\n", out);
    for (size_t i = 0; i < t->n; i++) write_csv_row(out, t, &t->rows[i]);
    double averages[GLUE_DESIGNS];
    int tasks = glue_table_averages(t, averages);
    if (!tasks) return;
    fprintf(out, "average,tasks %d", tasks);
    for (int d = 0; d < GLUE_DESIGNS; d++)
        if (t->shown[d]) fprintf(out, ",,%.6f,,", averages[d]);
    if (both(t)) fprintf(out, ",%.6f", averages[DESIGN_PAF] - averages[DESIGN_SAF]);
    fputc('\n', out);
}

// ---- for people: percent

#define COLUMNS (2 + 2 * GLUE_DESIGNS + 2) // task, metric, of each design median and spread, difference, runs
#define CELL 160

typedef struct {
    char cell[COLUMNS][CELL]; // those of a column that is not shown stay empty
} line;

static line headline(const glue_table *t) {
    static const char *const names[GLUE_DESIGNS] = {"SAF", "PAF"};
    line h = {{"task", "metric"}};
    for (int d = 0; d < GLUE_DESIGNS; d++) {
        if (!t->shown[d]) continue;
        snprintf(h.cell[2 + 2 * d], CELL, "%s median", names[d]);
        snprintf(h.cell[3 + 2 * d], CELL, "%s least to largest", names[d]);
    }
    if (both(t)) snprintf(h.cell[COLUMNS - 2], CELL, "PAF - SAF");
    snprintf(h.cell[COLUMNS - 1], CELL, "runs");
    return h;
}

static line row_line(const glue_table *t, const glue_row *r) {
    line l = {0};
    snprintf(l.cell[0], CELL, "%s", r->part);
    snprintf(l.cell[1], CELL, "%s", r->metric);
    for (int d = 0; d < GLUE_DESIGNS; d++) {
        glue_spread s = spread(r, (model_design)d);
        if (!t->shown[d] || !s.n) continue;
        snprintf(l.cell[2 + 2 * d], CELL, "%.2f", 100 * s.median);
        snprintf(l.cell[3 + 2 * d], CELL, "%.2f to %.2f", 100 * s.low, 100 * s.high);
    }
    size_t saf = r->n[DESIGN_SAF], paf = r->n[DESIGN_PAF];
    if (both(t) && is_whole(t, r))
        snprintf(l.cell[COLUMNS - 2], CELL, "%+.2f",
                 100 * (spread(r, DESIGN_PAF).median - spread(r, DESIGN_SAF).median));
    if (both(t) && saf != paf)
        snprintf(l.cell[COLUMNS - 1], CELL, "%zu and %zu", saf, paf);
    else
        snprintf(l.cell[COLUMNS - 1], CELL, "%zu", t->shown[DESIGN_SAF] ? saf : paf);
    return l;
}

static line average_line(const glue_table *t, int tasks, const double *averages) {
    line l = {{"average"}};
    snprintf(l.cell[1], CELL, "%d task%s", tasks, tasks == 1 ? "" : "s");
    for (int d = 0; d < GLUE_DESIGNS; d++)
        if (t->shown[d]) snprintf(l.cell[2 + 2 * d], CELL, "%.2f", 100 * averages[d]);
    if (both(t)) snprintf(l.cell[COLUMNS - 2], CELL, "%+.2f", 100 * (averages[DESIGN_PAF] - averages[DESIGN_SAF]));
    return l;
}

// Words to the left, numbers to the right; in plain text no blanks behind the last.
static void write_line(FILE *out, const line *l, const line *head, const size_t widths[COLUMNS], bool markdown) {
    int last = COLUMNS - 1;
    while (!markdown && !*l->cell[last]) last--;
    if (markdown) fputs("|", out);
    for (int c = 0; c <= last; c++) {
        if (!*head->cell[c]) continue;
        int width = c < 2 ? -(int)widths[c] : (int)widths[c];
        if (markdown)
            fprintf(out, " %*s |", width, l->cell[c]);
        else
            fprintf(out, "%s%*s", c ? "  " : "", width, l->cell[c]);
    }
    fputc('\n', out);
}

static void write_rule(FILE *out, const line *head) {
    fputs("|", out);
    for (int c = 0; c < COLUMNS; c++)
        if (*head->cell[c]) fputs(c < 2 ? "---|" : "---:|", out);
    fputc('\n', out);
}

static void write_lines(FILE *out, const glue_table *t, bool markdown) {
    size_t n = 0, widths[COLUMNS] = {0};
    line *lines = memory_allocate(t->n + 2, sizeof *lines);
    double averages[GLUE_DESIGNS];
    int tasks = glue_table_averages(t, averages);
    lines[n++] = headline(t);
    for (size_t i = 0; i < t->n; i++) lines[n++] = row_line(t, &t->rows[i]);
    if (tasks) lines[n++] = average_line(t, tasks, averages);
    for (size_t i = 0; i < n; i++)
        for (int c = 0; c < COLUMNS; c++)
            if (strlen(lines[i].cell[c]) > widths[c]) widths[c] = strlen(lines[i].cell[c]);
    for (size_t i = 0; i < n; i++) {
        write_line(out, &lines[i], &lines[0], widths, markdown);
        if (markdown && i == 0) write_rule(out, &lines[0]);
    }
    memory_free(lines);
}

char *glue_table_write(const glue_table *t, glue_format format) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) FATAL("open_memstream failed");
    if (format == GLUE_CSV)
        write_csv(out, t);
    else
        write_lines(out, t, format == GLUE_MARKDOWN);
    fclose(out);
    return text;
}
