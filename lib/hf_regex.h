/*
 * The regular expressions of pre-tokenizers as checkpoints spell them.
 */
#ifndef HF_REGEX_H
#define HF_REGEX_H

#define HF_CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define HF_EITHER_CASE  "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
#define HF_SPACES       "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define HF_LLAMA3_WORDS                                                                            \
	"|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" HF_SPACES
#define HF_QWEN2_WORDS                                                                             \
	"|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" HF_SPACES
#define HF_QWEN35_WORDS                                                                            \
	"|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| "                                          \
	"?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*" HF_SPACES

#define HF_LLAMA3 HF_CONTRACTIONS HF_LLAMA3_WORDS
#define HF_QWEN2  HF_CONTRACTIONS HF_QWEN2_WORDS
#define HF_QWEN35 HF_CONTRACTIONS HF_QWEN35_WORDS
#define HF_GPT2_NO_SPACE                                                                           \
	"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)"
#define HF_GPT2          HF_GPT2_NO_SPACE "|\\s+"
#define HF_NUMBERS       "\\p{N}+"
#define HF_THREE_DIGITS  "[0-9][0-9][0-9]"
#define HF_DEFAULT_SIGNS "[\\p{P}\\$\\+<=>\\^~\\|]+"

#endif
