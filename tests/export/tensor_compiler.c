/* A stand-in for Google's liblitert_plugin_compiler.so: all that LiteRT's compiler plugin for Tensor
 * calls. It "compiles" any model to a line of text. Built by tensor_sdk.py, with REFUSES for a
 * compiler that fails. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of LiteRT's google_tensor_options.proto, field 9 is the compiler's configuration, whose field 1 is
 * who compiles, and field 2 the chip: 1 is Tensor G3. */
static int generation(const char *options, size_t size) {
  return size > 5 && options[0] == (9 << 3 | 2) && options[4] == 2 << 3 ? options[5] + 2 : 0;
}

bool GoogleTensorCompileFlatbuffer(const char *model, size_t size, const char *options,
                                   size_t options_size, char ***code, size_t **sizes,
                                   size_t *count, char **error) {
#ifdef REFUSES
  *error = strdup("the stand-in refuses");
  return false;
#endif
  char *network = malloc(64);
  snprintf(network, 64, "stand-in network for Tensor G%d", generation(options, options_size));
  *count = 1;
  *code = malloc(sizeof **code);
  *sizes = malloc(sizeof **sizes);
  (*code)[0] = network;
  (*sizes)[0] = strlen(network);
  return true;
}

void GoogleTensorCompilerFreeCompiledCode(char **code, size_t *sizes, size_t count) {
  for (size_t i = 0; i < count; i++) free(code[i]);
  free(code);
  free(sizes);
}

void GoogleTensorCompilerFreeErrorMessage(char *error) { free(error); }

/* The plugin of ai-edge-litert 2.3 looks these two up, but goes by its own list of operators. */
bool GoogleTensorGetUnsupportedOps(const char *model, size_t size, const char *options,
                                   size_t options_size, int32_t **found, size_t *count,
                                   char **error) {
  *error = strdup("the stand-in has no list of its own");
  return false;
}

void GoogleTensorFreeUnsupportedOps(int32_t *found) { free(found); }
