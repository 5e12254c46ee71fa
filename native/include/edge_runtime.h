/* SPDX-License-Identifier: MIT
 *
 * edge_runtime: recurrent networks with binary, ternary and power-of-two weights, run without a
 * multiply instruction from quantized input to logits, bit-identically on every target.
 *
 * Objects
 *   er_model       a parsed model file. Immutable: any number of threads may share one.
 *   er_stream      the recurrent state of one input stream. Belongs to one thread at a time.
 *   er_resampler   sample-rate conversion to 16 kHz, streaming.
 *   er_frontend    PCM to features, streaming.
 *   er_decoder     logits to words, streaming.
 *   er_recognizer  resampler + front end + stream + decoder: PCM in, words out.
 *
 * A recognizer takes er_model_create_from_file, er_recognizer_create, er_recognizer_push in a loop and
 * er_recognizer_finish; a network of your own er_model_create_from_file, er_stream_create and
 * er_stream_step. examples/ has both.
 *
 * Shapes are in elements, the last index runs fastest; sizes in bytes. Pointers must not be null unless it says so
 * (functions that return a status then return ER_ERROR_ARGUMENT), and arrays must not overlap.
 *
 * Ownership. Each er_X_create has one er_X_destroy. Each also has er_X_size and er_X_init, which
 * place the object in the caller's memory (64-byte aligned, at least er_X_size bytes): then
 * nothing is allocated and nothing is to be destroyed; the memory is simply reused. An object must
 * not outlive what it was made from (stream, decoder and recognizer: the model; a model made with
 * ER_MODEL_BORROW: the caller's bytes), nor be moved in memory. er_X_destroy takes null.
 *
 * Errors. Functions that can fail return er_status: 0 is success, negative values are errors, and a
 * value is never renumbered. On failure out-parameters are left untouched unless stated otherwise.
 * er_X_create and er_X_init return ER_ERROR_ARGUMENT for an argument outside its range, ER_ERROR_MEMORY if there is no
 * memory or the caller's is too small or misaligned, ER_ERROR_MISSING if the model lacks a part that they need.
 *
 * Thread-safety, unless a function says otherwise: calls on distinct objects may run at the same
 * time; calls on one stream, resampler, front end, decoder or recognizer must not.
 *
 * Real-time safety: er_*_push, er_*_step*, er_*_run*, er_*_flush, er_*_finish, er_*_reset and what tells of a decoder
 * or recognizer (er_*_partial, er_recognizer_log_mel, ...) neither allocate, lock, log, nor make a system call.
 *
 * Stack: er_model_create*, er_model_init and er_model_size take up to 16 KB; in a library with scalar kernels only
 * up to 4 KB, and built with ER_SMALL_MEMORY, all but er_model_size about 1 KB. Of the rest, what takes samples takes up
 * to 4 KB, what takes features or less 1 KB.
 */
#ifndef EDGE_RUNTIME_H
#define EDGE_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif

/* The text between the two markers is plain C declarations without preprocessor lines: it is also
 * what the Python package hands to cffi. */
/* cffi: begin */

/* ------------------------------------------------------------------------------------ status */

/* Result of a call. Values -10 and below are the rejection rules of exporters/FORMAT.md. */
typedef enum er_status {
    ER_OK = 0,
    ER_ERROR_ARGUMENT = -1,         /* an argument is null or outside its documented range */
    ER_ERROR_MEMORY = -2,           /* an allocation failed, or the caller's memory is too small or misaligned */
    ER_ERROR_IO = -3,               /* a file could not be opened or read */
    ER_ERROR_MISSING = -4,          /* the model has no front end, decoder or labels, which this call needs */
    ER_ERROR_KERNEL = -5,           /* the requested kernel is unknown or this CPU cannot run it */

    ER_ERROR_TRUNCATED = -10,       /* shorter than a header, or than the size stated in it */
    ER_ERROR_MAGIC = -11,           /* does not begin with "ERNN" */
    ER_ERROR_VERSION = -12,         /* a format version this library does not read */
    ER_ERROR_FILE_SIZE = -13,       /* longer than the size stated in the header, or that size is illegal */
    ER_ERROR_CHECKSUM = -14,        /* CRC-32 mismatch: the file is damaged */
    ER_ERROR_RESERVED = -15,        /* a reserved field is not zero */
    ER_ERROR_SECTION_COUNT = -16,   /* no section, or more than the format allows */
    ER_ERROR_SECTION_TYPE = -17,    /* a section of unknown type */
    ER_ERROR_SECTION_ORDER = -18,   /* a section is missing, repeated or out of order */
    ER_ERROR_SECTION_BOUNDS = -19,  /* a section overlaps, leaves a hole, is misaligned or passes the end */
    ER_ERROR_SECTION_SIZE = -20,    /* a section is not as long as its contents say */
    ER_ERROR_PADDING = -21,         /* a padding byte is not zero */

    ER_ERROR_INPUT = -30,           /* input scale or offset not finite or out of range */
    ER_ERROR_LAYER_KIND = -31,      /* unknown layer kind */
    ER_ERROR_LAYER_SIZE = -32,      /* a layer size is 0 or above the limit, or the layer count is */
    ER_ERROR_LAYER_CHAIN = -33,     /* a layer's input size is not the size of what comes before it */
    ER_ERROR_LAYER_FLAGS = -34,     /* a flag that this layer kind does not have */
    ER_ERROR_ACTIVATION = -35,      /* an activation that this layer kind does not have */
    ER_ERROR_NUMERICS = -36,        /* numeric profile or activation table unknown to this library */
    ER_ERROR_ENCODING = -40,        /* unknown weight encoding */
    ER_ERROR_PLANES = -41,          /* plane count 0 or above the limit */
    ER_ERROR_OPERAND = -42,         /* operand clamp or shift not allowed */
    ER_ERROR_LEFT_SHIFT = -43,      /* matrix shift out of range */
    ER_ERROR_ROW_SCALE = -44,       /* a row scale code that is not canonical */
    ER_ERROR_WEIGHT_CODE = -45,     /* a weight byte that encodes nothing */
    ER_ERROR_ACCUMULATOR = -46,     /* a row whose worst-case sum exceeds the accumulator */
    ER_ERROR_MATRIX_SHAPE = -47,    /* matrix rows or columns are not what the layer needs */
    ER_ERROR_BIAS = -48,            /* a bias exceeds its bound */

    ER_ERROR_FRONTEND = -60,        /* a front-end parameter is out of range */
    ER_ERROR_FRONTEND_SIZE = -61,   /* the front end does not produce the network's input size */
    ER_ERROR_LABELS = -62,          /* labels are not UTF-8, empty, repeated, or not one per output */
    ER_ERROR_DECODER = -63,         /* a decoder setting is out of range */
    ER_ERROR_METADATA = -64         /* metadata are not pairs of UTF-8 strings with distinct keys */
} er_status;

/* Where and why a file was rejected. Filled by the er_model_* functions that parse. With ER_ERROR_MEMORY, expected is
 * the bytes needed, found those that there are. */
typedef struct er_error {
    int32_t status;     /* er_status */
    uint32_t rule;      /* rule number in exporters/FORMAT.md, 0 where none applies */
    uint64_t offset;    /* byte offset in the file */
    int64_t expected;   /* what the rule wants (a bound or a value) */
    int64_t found;      /* what the file holds */
} er_error;

/* Text of a status: one English sentence without a full stop, never null, static storage. */
const char *er_status_text(int32_t status);

/* Library version, "major.minor.patch", static storage. */
const char *er_version(void);

/* CRC-32 (ISO-HDLC, the one of zlib and PNG) of size bytes; 0 for null. */
uint32_t er_crc32(const void *data, size_t size);

/* ------------------------------------------------------------------------------------ limits */

/* The greatest that a model file may hold; exporters/FORMAT.md, section 10, has what follows from them. Everything is
 * checked against them, and sizes against what size_t holds, before memory is asked for. */
enum {
    ER_MAX_FILE_BYTES = 1073741824,     /* 2^30 */
    ER_MAX_SECTIONS = 64,
    ER_MAX_LAYERS = 16,
    ER_MAX_SIZE = 8192,                 /* inputs or units of a layer */
    ER_MAX_PLANES = 8,                  /* of a matrix */
    ER_MAX_STRING_BYTES = 255,          /* of a label or a key, without the zero */
    ER_MAX_METADATA = 1024,             /* pairs, */
    ER_MAX_METADATA_BYTES = 1048576     /* and the section that holds them, 2^20 */
};

/* ------------------------------------------------------------------------------------- model */

typedef struct er_model er_model;

enum {
    ER_MODEL_BORROW = 1     /* use the caller's bytes in place; they must stay unchanged and mapped */
};

typedef struct er_model_options {
    uint32_t flags;         /* 0 or ER_MODEL_BORROW; another bit is ER_ERROR_ARGUMENT */
    const char *kernel;     /* null: the best for this CPU; else "scalar", "avx2", "avx512bw" (F, BW and
                             * VL), "avx512" (VBMI too) or "neon" (AArch64, ARMv7); ER_ERROR_KERNEL if the
                             * library does not have it or this CPU cannot run it */
} er_model_options;

typedef struct er_model_info {
    uint32_t profile;           /* numeric profile: 1, inputs of 8 bits, or 2 ("fine"), inputs of 16 bits */
    uint32_t input_size;        /* inputs per step */
    uint32_t output_size;       /* logits per step */
    uint32_t layer_count;
    uint32_t state_size;        /* int16 values of recurrent state */
    uint32_t label_count;       /* 0 or output_size */
    uint32_t metadata_count;    /* key/value pairs */
    uint32_t has_frontend;      /* 0 or 1 */
    uint32_t has_decoder;       /* 0 or 1 */
    uint32_t step_samples;      /* 16 kHz samples per step of the front end, 0 without one */
    uint32_t file_bytes;
    uint64_t model_bytes;       /* memory of the model object: copied file and the kernels' own weights included */
    uint64_t stream_bytes;      /* memory of one stream */
    const char *kernel;         /* ISA word of the kernels in use, static storage */
} er_model_info;

/* Parse a model from memory. Every rule of exporters/FORMAT.md is checked before anything is used. Other
 * kernels than "scalar" repack the weights into memory of the model; "scalar" with ER_MODEL_BORROW uses
 * them where they are, which may be read-only memory.
 *   data, size    the file's bytes. Copied, unless options->flags has ER_MODEL_BORROW.
 *   options       null for the defaults.
 *   model_out     receives the model; destroy with er_model_destroy.
 *   error_out     null, or receives the details when the result is not ER_OK. */
er_status er_model_create(const void *data, size_t size, const er_model_options *options,
                          er_model **model_out, er_error *error_out);

/* Read a file into memory and parse it. path: as for fopen; ER_ERROR_IO if it cannot be read. Otherwise as
 * er_model_create; ER_MODEL_BORROW is ER_ERROR_ARGUMENT. The file is read, never mapped: who changes or cuts it
 * afterwards changes nothing here, and one that changes while it is read is refused by its checksum or length. No
 * more is read than the header says; of what does not begin as a model, 64 bytes. Pipes will do. */
er_status er_model_create_from_file(const char *path, const er_model_options *options,
                                    er_model **model_out, er_error *error_out);

/* Bytes er_model_init needs for these file bytes and options; checks the file completely. */
er_status er_model_size(const void *data, size_t size, const er_model_options *options,
                        size_t *bytes_out, er_error *error_out);

/* As er_model_create, in the caller's memory. */
er_status er_model_init(void *memory, size_t memory_size, const void *data, size_t size,
                        const er_model_options *options, er_model **model_out, er_error *error_out);

/* Release a model of er_model_create*. Null is allowed. No stream, decoder or recognizer of it may
 * be used afterwards. */
void er_model_destroy(er_model *model);

/* Fill *info_out, all of it. */
er_status er_model_describe(const er_model *model, er_model_info *info_out);

/* Label of an output, UTF-8, owned by the model; null if index is not below label_count. */
const char *er_model_label(const er_model *model, uint32_t index);

/* Metadata pair, UTF-8, owned by the model. ER_ERROR_ARGUMENT if index is out of range. */
er_status er_model_metadata(const er_model *model, uint32_t index, const char **key_out,
                            const char **value_out);

/* ------------------------------------------------------------------------------------ stream */

typedef struct er_stream er_stream;

/* The recurrent state of one sequence of inputs, in the model's initial state, and the scratch memory of its steps. As
 * many streams of a model as wanted. er_stream_size is the stream_bytes of er_model_info; 0 for null. */
size_t er_stream_size(const er_model *model);
er_status er_stream_init(void *memory, size_t memory_size, const er_model *model,
                         er_stream **stream_out);
er_status er_stream_create(const er_model *model, er_stream **stream_out);
void er_stream_destroy(er_stream *stream);

/* Return to the model's initial state; null is allowed, as in every er_X_reset. */
void er_stream_reset(er_stream *stream);

/* Round real-valued inputs to the network's int8 inputs: clamp(floor(x * scale + offset + 0.5),
 * -127, 127) with the file's scale and offset per input; not-a-number becomes 0. This is the only
 * float operation between features and logits. ER_ERROR_ARGUMENT for a model of numeric profile 2.
 *   x        float [shape=(input_size)]
 *   x_out    int8 [shape=(input_size)] */
er_status er_model_quantize_input(const er_model *model, const float *x, int8_t *x_out);

/* The same for models of numeric profile 2, whose inputs have 16 bits: -32767 .. 32767. ER_ERROR_ARGUMENT
 * for a model of profile 1. x_out: int16 [shape=(input_size)]. */
er_status er_model_quantize_input16(const er_model *model, const float *x, int16_t *x_out);

/* Advance one step on integers only. ER_ERROR_ARGUMENT for a model of numeric profile 2.
 *   x            int8 [shape=(input_size)], each in [-127, 127]; -128 is read as -127
 *   logits_out   int16 [shape=(output_size)]; unit 1/2048, or 1/32768 after tanh and sigmoid */
er_status er_stream_step_quantized(er_stream *stream, const int8_t *x, int16_t *logits_out);

/* The same for models of numeric profile 2; ER_ERROR_ARGUMENT for one of profile 1. x: int16
 * [shape=(input_size)], each in [-32767, 32767]; -32768 is read as -32767. */
er_status er_stream_step_quantized16(er_stream *stream, const int16_t *x, int16_t *logits_out);

/* Advance one step: quantize, step, convert. x: float [shape=(input_size)]; y_out: float
 * [shape=(output_size)], the logits in real units (an exact conversion). */
er_status er_stream_step(er_stream *stream, const float *x, float *y_out);

/* Advance many steps; equal to as many single steps, bit for bit. step_count may be 0, and x and y_out null then.
 *   x        float [shape=(step_count, input_size)]
 *   y_out    float [shape=(step_count, output_size)] */
er_status er_stream_run(er_stream *stream, const float *x, size_t step_count, float *y_out);

/* As er_stream_run on integers: x int8 [shape=(step_count, input_size)], logits_out int16
 * [shape=(step_count, output_size)]. */
er_status er_stream_run_quantized(er_stream *stream, const int8_t *x, size_t step_count,
                                  int16_t *logits_out);

/* The same for models of numeric profile 2: x int16 [shape=(step_count, input_size)]. */
er_status er_stream_run_quantized16(er_stream *stream, const int16_t *x, size_t step_count,
                                    int16_t *logits_out);

/* Advance several streams of one model by one step each, faster than one after the other where the weights do
 * not fit the nearest cache. Each gives what its own er_stream_step would, bit for bit.
 *   streams      [shape=(stream_count)] of one model, none twice (else ER_ERROR_ARGUMENT, and nothing is
 *                changed); all are in use until the call returns
 *   x            float [shape=(stream_count, input_size)]
 *   y_out        float [shape=(stream_count, output_size)] */
er_status er_stream_step_many(er_stream *const *streams, size_t stream_count, const float *x, float *y_out);

/* As er_stream_step_many on integers: x int8 [shape=(stream_count, input_size)], logits_out int16
 * [shape=(stream_count, output_size)]. */
er_status er_stream_step_many_quantized(er_stream *const *streams, size_t stream_count, const int8_t *x,
                                        int16_t *logits_out);

/* The same for models of numeric profile 2: x int16 [shape=(stream_count, input_size)]. */
er_status er_stream_step_many_quantized16(er_stream *const *streams, size_t stream_count, const int16_t *x,
                                          int16_t *logits_out);

/* Let a stream skip what did not change (enabled 1; 0, as at first: not): weights of inputs and states that are, as
 * rounded for a matrix, those of the last step are not read, and sums are brought up to date by the rest. Results
 * are the same, bit for bit. It pays where inputs stand still: digital silence, a sensor at rest. Speech and its
 * pauses do not: there a step takes a few percent longer. Kernels without a form for it go on as before. */
er_status er_stream_set_skipping(er_stream *stream, uint32_t enabled);

/* Copy the recurrent state out or in: int16 [shape=(state_size)], layers in order; a GRU or RNN
 * layer contributes h, an LSTM layer h then c, in numeric profile 2 each c as two values, its low half
 * first. Any value may be set. */
er_status er_stream_get_state(const er_stream *stream, int16_t *state_out);
er_status er_stream_set_state(er_stream *stream, const int16_t *state);

/* --------------------------------------------------------------------------------- resampler */

typedef struct er_resampler er_resampler;

/* Convert sample_rate (8000 .. 192000 Hz, reduced ratio to 16000 with at most 640 phases; else
 * ER_ERROR_ARGUMENT) to 16000 Hz by a polyphase windowed-sinc filter. 16000 passes through. */
size_t er_resampler_size(uint32_t sample_rate);     /* 0: rate not supported */
er_status er_resampler_init(void *memory, size_t memory_size, uint32_t sample_rate,
                            er_resampler **resampler_out);
er_status er_resampler_create(uint32_t sample_rate, er_resampler **resampler_out);
void er_resampler_destroy(er_resampler *resampler);
void er_resampler_reset(er_resampler *resampler);

/* Convert until the input is used up or the output is full. Any chunking gives the same samples.
 *   samples          float [shape=(count)], full scale 1.0; null if count is 0
 *   out, capacity    receives at most capacity samples at 16 kHz; capacity >= 1
 *   produced_out     samples written to out
 *   consumed_out     input samples used; call again with the rest while it is below count */
er_status er_resampler_push(er_resampler *resampler, const float *samples, size_t count, float *out,
                            size_t capacity, size_t *produced_out, size_t *consumed_out);

/* Drain the filter's delay with zeros: call until *produced_out is below capacity. The total output
 * is then ceil(total input * 16000 / sample_rate) samples. Reset before reuse. */
er_status er_resampler_flush(er_resampler *resampler, float *out, size_t capacity,
                             size_t *produced_out);

/* --------------------------------------------------------------------------------- front end */

enum {
    ER_MAX_CEPSTRA = 32,
    ER_SAMPLE_RATE = 16000      /* Hz; the only rate the front end takes */
};

/* Parameters of the front end. The defaults are those of the AN4 features of CMU Sphinx. */
typedef struct er_frontend_config {
    uint32_t window_samples;    /* 410; 32 .. fft_size */
    uint32_t hop_samples;       /* 160; 16 .. window_samples */
    uint32_t fft_size;          /* 512; a power of two, 64 .. 2048 */
    uint32_t filter_count;      /* 40; 8 .. 80 mel filters */
    uint32_t cepstrum_count;    /* 13; 1 .. min(filter_count, ER_MAX_CEPSTRA) */
    uint32_t delta_order;       /* 2: cepstra, deltas, delta-deltas; 1: no delta-deltas; 0: cepstra only */
    uint32_t stack;             /* 1 .. 4 consecutive frames per feature vector */
    uint32_t subtract_mean;     /* 1: subtract a causal running mean from the cepstra; 0: do not */
    float preemphasis;          /* 0.97; 0 .. 1 */
    float low_hz;               /* 130; lower edge of the first filter, 0 <= low_hz < high_hz */
    float high_hz;              /* 6800; upper edge of the last filter, at most 8000 */
    float log_floor;            /* 1e-4; added to each filter's energy before the logarithm, > 0 */
    float mean[32];             /* initial mean, cepstrum_count values, the rest 0 */
} er_frontend_config;

typedef struct er_frontend er_frontend;

/* Fill in the defaults: 16 kHz, 25.625 ms windows every 10 ms, 40 filters, 13 cepstra, deltas and
 * delta-deltas, no stacking, no mean subtraction. */
void er_frontend_config_default(er_frontend_config *config_out);

/* Size of a feature vector: cepstrum_count * (1 + delta_order) * stack. 0: illegal configuration. */
size_t er_frontend_feature_size(const er_frontend_config *config);

size_t er_frontend_size(const er_frontend_config *config);      /* 0: illegal configuration */
er_status er_frontend_init(void *memory, size_t memory_size, const er_frontend_config *config,
                           er_frontend **frontend_out);
er_status er_frontend_create(const er_frontend_config *config, er_frontend **frontend_out);
void er_frontend_destroy(er_frontend *frontend);
void er_frontend_reset(er_frontend *frontend);

/* PCM to features. Any chunking gives the same features, bit for bit.
 *   samples         float [shape=(count)], 16 kHz mono, full scale 1.0
 *   features_out    float [shape=(capacity, feature_size)]; capacity >= 1. A vector: per frame of the stack, the oldest
 *                   first, its cepstra, deltas and delta-deltas
 *   frames_out      vectors written to features_out
 *   consumed_out    samples used; call again with the rest while it is below count */
er_status er_frontend_push(er_frontend *frontend, const float *samples, size_t count,
                           float *features_out, size_t capacity, size_t *frames_out,
                           size_t *consumed_out);

/* Enter behind the filter bank with ready cepstra: float [shape=(count, cepstrum_count)]. Not to be
 * mixed with er_frontend_push between two resets. Otherwise as er_frontend_push. */
er_status er_frontend_push_cepstra(er_frontend *frontend, const float *cepstra, size_t count,
                                   float *features_out, size_t capacity, size_t *frames_out,
                                   size_t *consumed_out);

/* End of the signal: the started frame is completed with zeros (as Sphinx does), then quiet_frames
 * copies of the quietest frame so far (least C0) follow, then as many as the look-ahead of the
 * deltas and the stacking need (with quiet_frames 0 the last frame is repeated instead). Call until
 * *frames_out is below capacity, with the same quiet_frames; then reset before reuse. */
er_status er_frontend_flush(er_frontend *frontend, uint32_t quiet_frames, float *features_out,
                            size_t capacity, size_t *frames_out);

/* ----------------------------------------------------------------------------------- decoder */

/* One recognized word. Times count from the first sample (decoder alone: from the first step). */
typedef struct er_word {
    double start_s;         /* estimated beginning: end_s less the label's typical length, not before the previous word's end */
    double end_s;           /* estimated end: the last step the label won, less the network's delay */
    double heard_s;         /* when it was reported: the time at which the last sample that this took had arrived */
    float confidence;       /* greatest posterior probability of the label over its steps, 0 .. 1 */
    uint32_t label;         /* index of the output; er_model_label gives the text */
    uint32_t string;        /* number of the string it belongs to, from 0: see er_decoder_ended_strings */
} er_word;

/* The words of a decoder and of a recognizer come in order; each is reported once. */
typedef struct er_decoder er_decoder;

/* Greedy CTC (Graves et al. 2006, section 3.2): the best output per step after adding the file's
 * bias per output; runs of one label are one word; blank separates; `unknown` is heard but not
 * reported. A word is reported when its run ends. Needs labels and decoder settings in the model. */
size_t er_decoder_size(const er_model *model);      /* 0: the model has no decoder settings */
er_status er_decoder_init(void *memory, size_t memory_size, const er_model *model,
                          er_decoder **decoder_out);
er_status er_decoder_create(const er_model *model, er_decoder **decoder_out);
void er_decoder_destroy(er_decoder *decoder);
void er_decoder_reset(er_decoder *decoder);

/* Words below this confidence are dropped. 0 .. 1; the default is the file's. */
er_status er_decoder_set_threshold(er_decoder *decoder, float threshold);

/* Replace the file's bias of one output (unit 1/2048), for choosing an operating point. */
er_status er_decoder_set_bias(er_decoder *decoder, uint32_t output, int16_t bias);

/* Words follow one another in a string, which ends when so many milliseconds of steps have passed since the run of its
 * last word ended, unless the run of another word is in progress then; `unknown` does not keep a string from
 * ending. 20 .. 60000; at first 800. */
er_status er_decoder_set_string_silence(er_decoder *decoder, uint32_t silence_ms);

/* Strings that have ended since the reset: the words of strings 0 .. count - 1 are complete, and any later word begins
 * or continues string number count. er_decoder_finish ends the string in progress. 0 for null. */
uint32_t er_decoder_ended_strings(const er_decoder *decoder);

/* The word in progress. *found_out: 1, and *word_out is what would be reported if the run ended now; or 0, and
 * *word_out is left as it was: blank or `unknown` was last. Also a word whose confidence is still below the threshold
 * is found: it may come to nothing, and end_s, heard_s and confidence may grow. */
er_status er_decoder_partial(const er_decoder *decoder, er_word *word_out, uint32_t *found_out);

/* Take logits of steps in turn, of er_stream_step_quantized or its like.
 *   logits          int16 [shape=(step_count, output_size)]
 *   words_out       receives at most capacity words; capacity >= 1
 *   consumed_out    steps used; call again with the rest while it is below step_count */
er_status er_decoder_push(er_decoder *decoder, const int16_t *logits, size_t step_count,
                          er_word *words_out, size_t capacity, size_t *word_count_out,
                          size_t *consumed_out);

/* End of the signal: report the word in progress, if any (at most one). Reset before reuse. */
er_status er_decoder_finish(er_decoder *decoder, er_word *words_out, size_t capacity,
                            size_t *word_count_out);

/* -------------------------------------------------------------------------------- recognizer */

typedef struct er_recognizer er_recognizer;

/* PCM in, words out. Needs front end, labels and decoder settings in the model
 * (ER_ERROR_MISSING). sample_rate: as er_resampler_create. */
size_t er_recognizer_size(const er_model *model, uint32_t sample_rate);     /* 0: not possible */
er_status er_recognizer_init(void *memory, size_t memory_size, const er_model *model,
                             uint32_t sample_rate, er_recognizer **recognizer_out);
er_status er_recognizer_create(const er_model *model, uint32_t sample_rate,
                               er_recognizer **recognizer_out);
void er_recognizer_destroy(er_recognizer *recognizer);

/* Forget everything heard: filters, features, network state, pending word, clock. */
void er_recognizer_reset(er_recognizer *recognizer);

/* As the functions of the decoder. Settings stay when the recognizer is reset. */
er_status er_recognizer_set_threshold(er_recognizer *recognizer, float threshold);
er_status er_recognizer_set_string_silence(er_recognizer *recognizer, uint32_t silence_ms);
uint32_t er_recognizer_ended_strings(const er_recognizer *recognizer);

/* The idle gate. After so long a time in which blank won clearly at every step and the energy stayed within 2.4 dB of a
 * level that follows the noise, front end and network rest, until the energy rises above that. Then they start
 * from their fresh state with the last 0.48 s (and up to a step more, so that steps begin where they would have), of which
 * the gate keeps a copy: what is heard from there on is what a fresh recognizer would hear, at the times of this stream.
 * Decided every 10 ms of the signal itself, so that any chunking gives the same words. 500 .. 60000, or 0 for never
 * (er_recognizer_push_cepstra: never); at first 2000. */
er_status er_recognizer_set_gate(er_recognizer *recognizer, uint32_t idle_after_ms);

/* As er_decoder_partial. */
er_status er_recognizer_partial(const er_recognizer *recognizer, er_word *word_out, uint32_t *found_out);

/* Any chunking gives the same words. samples: float [shape=(count)], mono, full scale 1.0, at the
 * recognizer's sample rate; not-a-number counts as 0. words_out, capacity, consumed_out: as
 * er_decoder_push. */
er_status er_recognizer_push(er_recognizer *recognizer, const float *samples, size_t count,
                             er_word *words_out, size_t capacity, size_t *word_count_out,
                             size_t *consumed_out);

/* As er_recognizer_push with ready cepstra, float [shape=(count, cepstrum_count)]. */
er_status er_recognizer_push_cepstra(er_recognizer *recognizer, const float *cepstra, size_t count,
                                     er_word *words_out, size_t capacity, size_t *word_count_out,
                                     size_t *consumed_out);

/* End of the signal: flush with 0.3 s of quiet and report the words still due. Call until
 * *word_count_out is below capacity. Reset before reuse. */
er_status er_recognizer_finish(er_recognizer *recognizer, er_word *words_out, size_t capacity,
                               size_t *word_count_out);

/* Posterior probabilities of the last step (softmax of biased logits) for displays: float
 * [shape=(output_size)]; before the first step all zero. */
er_status er_recognizer_posteriors(const er_recognizer *recognizer, float *posteriors_out);

/* 1 while the recognizer is idle, see er_recognizer_set_gate; else 0, as for null. */
uint32_t er_recognizer_is_idle(const er_recognizer *recognizer);

/* Spectrum of the last frame for displays: natural logarithms of the energies in the mel filters, low to high, float
 * [shape=(filter_count)] of the front end; samples at int16 scale, so ln(log_floor) is silence and some 25 the
 * loudest. Before the first frame, and with ready cepstra, silence. Goes on while the recognizer is idle. */
er_status er_recognizer_log_mel(er_recognizer *recognizer, float *log_mel_out);

/* cffi: end */

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif

#endif
