/* A forecast as settings for what runs the program: shell, Kubernetes, systemd, Docker. */
#ifndef EMIT_H
#define EMIT_H

#include "forecast_report.h"

/* form: "sh", "k8s", "systemd", "docker".  What each number means stands in comments beside it.
 * Errors (status 2): another form. */
int emit(const struct report *r, const char *form, FILE *out, struct err *e);

#endif
