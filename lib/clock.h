/* Time. */
#ifndef CLOCK_H
#define CLOCK_H

/* Seconds since an arbitrary moment; never goes back. */
double clock_now(void);

#endif
