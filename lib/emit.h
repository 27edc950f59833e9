/* A forecast as settings for what runs the program: shell, Kubernetes, systemd, Docker. */
#ifndef EMIT_H
#define EMIT_H

#include "forecast_report.h"

/* --emit: to is an int, the number of a form: "sh", "k8s", "systemd", "docker". */
int emit_opt(void *to, const char *value, struct err *e);

/* Writes the settings; what each number means stands in comments beside it. */
int emit(const struct forecast_report *r, int form, FILE *out, struct err *e);

#endif
