/* A forecast as settings for what runs the program: shell, Kubernetes, systemd, Docker. */
#ifndef EMIT_H
#define EMIT_H

#include "forecast_report.h"

/* The number of a form: "sh", "k8s", "systemd", "docker"; -1 for another (status 2). */
int emit_find(const char *form, struct err *e);

/* Writes the settings; what each number means stands in comments beside it. */
int emit(const struct report *r, int form, FILE *out, struct err *e);

#endif
