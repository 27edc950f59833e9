/*
 * Ternary matrices between the layouts of files and that of the device.
 */
#include "layout.h"

#include <string.h>

#include "../load.h"

/* What pack and unpack know of a type: blocks of values and bytes, their codes, where d lies. */
struct codec {
	uint32_t values, bytes;
	void (*read)(uint8_t *codes, const uint8_t *block);
	void (*write)(uint8_t *block, const uint8_t *codes);
	uint32_t prefix; /* bytes of d in front of a row */
	int has_d;       /* binary16 d behind the codes of a block */
};

/* ---- blocks of each type: one code a byte ---- */

/* Fields of two bits: code g + span * l of each group of 4 spans is field l of byte g. */
static void read_fields(uint8_t *codes, const uint8_t *b, uint32_t n, uint32_t span, int top)
{
	for (uint32_t i = 0; i < n; i++) {
		uint32_t l = i % (4 * span) / span, byte = i / (4 * span) * span + i % span;

		codes[i] = b[byte] >> (top ? 6 - 2 * l : 2 * l) & 3;
	}
}

static void write_fields(uint8_t *b, const uint8_t *codes, uint32_t n, uint32_t span, int top)
{
	memset(b, 0, n / 4);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t l = i % (4 * span) / span, byte = i / (4 * span) * span + i % span;

		b[byte] |= (uint8_t)(codes[i] << (top ? 6 - 2 * l : 2 * l));
	}
}

static void read_i2_s(uint8_t *codes, const uint8_t *b)
{
	read_fields(codes, b, 128, 32, 1);
}

static void write_i2_s(uint8_t *b, const uint8_t *codes)
{
	write_fields(b, codes, 128, 32, 1);
}

static void read_i2_s16(uint8_t *codes, const uint8_t *b)
{
	read_fields(codes, b, 64, 16, 1);
}

static void write_i2_s16(uint8_t *b, const uint8_t *codes)
{
	write_fields(b, codes, 64, 16, 1);
}

static void read_tq2_0(uint8_t *codes, const uint8_t *b)
{
	read_fields(codes, b, 256, 32, 0);
}

static void write_tq2_0(uint8_t *b, const uint8_t *codes)
{
	write_fields(b, codes, 256, 32, 0);
}

static void read_iq2_bn(uint8_t *codes, const uint8_t *b)
{
	read_fields(codes, b, 64, 16, 0);
}

static void write_iq2_bn(uint8_t *b, const uint8_t *codes)
{
	write_fields(b, codes, 64, 16, 0);
}

/* n bytes of up to five base-3 digits, digit k of byte i at codes[n k + i], the first one most
 * significant. */
static void read_base3(uint8_t *codes, const uint8_t *b, uint32_t n, uint32_t digits)
{
	for (uint32_t i = 0; i < n; i++) {
		uint32_t v = b[i];

		for (uint32_t k = 0; k < digits; k++, v = v * 3 & 255)
			codes[n * k + i] = (uint8_t)(v * 3 >> 8);
	}
}

/* The byte of five digits: the least of which they can be read back. */
static uint8_t base3(uint32_t v)
{
	return (uint8_t)((256 * v + 242) / 243);
}

static void write_base3(uint8_t *b, const uint8_t *codes, uint32_t n, uint32_t digits)
{
	for (uint32_t i = 0; i < n; i++) {
		uint32_t v = 0;

		for (uint32_t k = 0; k < 5; k++)
			v = 3 * v + (k < digits ? codes[n * k + i] : 0);
		b[i] = base3(v);
	}
}

static void read_tq1_0(uint8_t *codes, const uint8_t *b)
{
	read_base3(codes, b, 32, 5);
	read_base3(codes + 160, b + 32, 16, 5);
	read_base3(codes + 240, b + 48, 4, 4);
}

static void write_tq1_0(uint8_t *b, const uint8_t *codes)
{
	write_base3(b, codes, 32, 5);
	write_base3(b + 32, codes + 160, 16, 5);
	write_base3(b + 48, codes + 240, 4, 4);
}

/* Five digits a byte, the first one least significant. */
static void read_iq1_bn(uint8_t *codes, const uint8_t *b)
{
	static const uint8_t power[5] = {81, 27, 9, 3, 1};

	for (uint32_t i = 0; i < 4; i++) {
		for (uint32_t k = 0; k < 15; k++)
			codes[16 * i + k] =
			    (uint8_t)((uint8_t)(b[3 * i + k / 5] * power[k % 5]) * 3 >> 8);
		codes[16 * i + 15] = (uint8_t)((uint8_t)(b[12] * power[i]) * 3 >> 8);
	}
}

static void write_iq1_bn(uint8_t *b, const uint8_t *codes)
{
	for (uint32_t i = 0; i < 12; i++) {
		const uint8_t *c = codes + 16 * (i / 3) + 5 * (i % 3);

		b[i] = base3(c[0] + 3u * c[1] + 9u * c[2] + 27u * c[3] + 81u * c[4]);
	}
	b[12] = base3(codes[15] + 3u * codes[31] + 9u * codes[47] + 27u * codes[63]);
}

static const struct codec i2_s = {128, 32, read_i2_s, write_i2_s, 0, 0};
static const struct codec i2_s16 = {64, 16, read_i2_s16, write_i2_s16, 0, 0};
static const struct codec tq2_0 = {256, 66, read_tq2_0, write_tq2_0, 0, 1};
static const struct codec tq1_0 = {256, 54, read_tq1_0, write_tq1_0, 0, 1};
static const struct codec iq2_bn = {64, 16, read_iq2_bn, write_iq2_bn, 4, 0};
static const struct codec iq1_bn = {64, 13, read_iq1_bn, write_iq1_bn, 2, 0};

static const struct codec *codec_of(enum dtype t, int group)
{
	switch (t) {
	case DTYPE_I2_S:
		return group == 16 ? &i2_s16 : &i2_s;
	case DTYPE_TQ2_0:
		return &tq2_0;
	case DTYPE_TQ1_0:
		return &tq1_0;
	case DTYPE_IQ2_BN:
		return &iq2_bn;
	case DTYPE_IQ1_BN:
		return &iq1_bn;
	default:
		return NULL;
	}
}

int cuda_packs(enum dtype t)
{
	return codec_of(t, 32) != NULL;
}

/* ---- matrices ---- */

static size_t up256(size_t n)
{
	return (n + 255) / 256 * 256;
}

void cuda_packing(struct cuda_packing *p, enum dtype t, int group, uint32_t rows, uint32_t cols,
                  size_t row_bytes)
{
	const struct codec *c = codec_of(t, group);
	size_t padded = (size_t)layout_bands(rows) * BAND_ROWS;

	memset(p, 0, sizeof *p);
	p->type = t;
	p->group = group;
	p->rows = rows;
	p->cols = cols;
	p->row_bytes = row_bytes ? row_bytes : c->prefix + (size_t)cols / c->values * c->bytes;
	p->bands = layout_bands(rows);
	p->band_bytes = (size_t)layout_tiles(cols) * TILE_BYTES;
	p->bytes = up256(p->bands * p->band_bytes);
	if (c->prefix || c->has_d) {
		p->row_d = p->bytes;
		p->bytes += up256(padded * sizeof(float));
	}
	if (c->has_d) {
		p->block_d = p->bytes;
		p->d_blocks = layout_up(cols, D_COLUMNS);
		p->bytes += up256(padded * p->d_blocks * sizeof(uint16_t));
	}
}

static void put(uint8_t *band, uint32_t row, uint32_t column, uint32_t code)
{
	uint8_t *b = band + layout_byte(row, column);
	uint32_t s = layout_shift(column);

	*b = (uint8_t)((*b & ~(3u << s)) | code << s);
}

static uint32_t get(const uint8_t *band, uint32_t row, uint32_t column)
{
	return (uint32_t)band[layout_byte(row, column)] >> layout_shift(column) & 3u;
}

static int all_zero(const uint8_t *codes, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (codes[i] != 1)
			return 0;
	return 1;
}

/* One row; whether its blocks differ in d.  A block whose d is 0 counts for nothing whatever its
 * codes: where they are zeros, any d will do. */
static int pack_row(const struct cuda_packing *p, const struct codec *c, uint32_t row,
                    const uint8_t *data, uint8_t *band, float *d, uint16_t *block_d)
{
	uint8_t codes[256];
	uint16_t common = 0;
	int mixed = 0;

	if (c->prefix && d)
		*d = c->prefix == 4 ? half_bits_f32(load_u32(data)) : load_f16(data);
	data += c->prefix;
	for (uint32_t at = 0; at < p->cols; at += c->values, data += c->bytes) {
		c->read(codes, data);
		for (uint32_t i = 0; i < c->values && at + i < p->cols; i++)
			put(band, row, at + i, codes[i]);
		if (!c->has_d || !block_d)
			continue;
		uint16_t h = load_u16(data + c->bytes - 2);
		block_d[at / D_COLUMNS] = h;
		if (h & 0x7fff) {
			mixed |= (common & 0x7fff) && common != h;
			common = h;
		} else {
			mixed |= !all_zero(codes, c->values);
		}
	}
	if (c->has_d && d)
		*d = half_to_f32(common);
	return mixed;
}

int cuda_pack(const struct cuda_packing *p, size_t band, const uint8_t *data, uint8_t *codes,
              float *d, uint16_t *block_d)
{
	const struct codec *c = codec_of(p->type, p->group);
	size_t first = band * BAND_ROWS;
	int mixed = 0;

	memset(codes, 0x55, p->band_bytes); /* code 1: zeros */
	if (d)
		memset(d, 0, BAND_ROWS * sizeof *d);
	if (block_d)
		memset(block_d, 0, BAND_ROWS * p->d_blocks * sizeof *block_d);
	for (uint32_t r = 0; r < BAND_ROWS && first + r < p->rows; r++)
		mixed |= pack_row(p, c, r, data + (first + r) * p->row_bytes, codes,
		                  d ? d + r : NULL, block_d ? block_d + r * p->d_blocks : NULL);
	return mixed;
}

static void unpack_row(const struct cuda_packing *p, const struct codec *c, uint32_t row,
                       uint8_t *data, const uint8_t *band, float d, const uint16_t *block_d)
{
	uint8_t codes[256];
	uint32_t bits = half_f32_bits(d);

	if (c->prefix == 4)
		memcpy(data, &bits, 4);
	else if (c->prefix == 2)
		half_put(data, half_from_f32(d));
	data += c->prefix;
	for (uint32_t at = 0; at < p->cols; at += c->values, data += c->bytes) {
		for (uint32_t i = 0; i < c->values; i++)
			codes[i] = (uint8_t)(at + i < p->cols ? get(band, row, at + i) : 1);
		c->write(data, codes);
		if (c->has_d)
			half_put(data + c->bytes - 2, block_d[at / D_COLUMNS]);
	}
}

void cuda_unpack(const struct cuda_packing *p, size_t band, uint8_t *data, const uint8_t *codes,
                 const float *d, const uint16_t *block_d)
{
	const struct codec *c = codec_of(p->type, p->group);
	size_t first = band * BAND_ROWS;

	for (uint32_t r = 0; r < BAND_ROWS && first + r < p->rows; r++)
		unpack_row(p, c, r, data + (first + r) * p->row_bytes, codes, d ? d[r] : 0,
		           block_d ? block_d + r * p->d_blocks : NULL);
}
