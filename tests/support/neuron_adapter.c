/* A stand-in for MediaTek's libneuron_adapter.so: all that LiteRT's compiler plugin calls. It takes
 * any model whose operations name operands that were added, and "compiles" it to a line of text.
 * Built by neuropilot_sdk.py, with VERSION, and REFUSES for a compiler that fails. */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NO_ERROR = 0, BAD_DATA = 4, BAD_STATE = 6 };

typedef struct {
  uint32_t operands, operations;
  bool finished;
} Model;

typedef struct {
  Model *model;
  bool finished;
  char network[256];
} Compilation;

static bool in_range(const Model *model, uint32_t count, const uint32_t *indices) {
  for (uint32_t i = 0; i < count; i++)
    if (indices[i] >= model->operands) return false;
  return true;
}

int Neuron_getVersion(uint8_t *version) {
  const uint8_t mine[] = {VERSION};
  memcpy(version, mine, sizeof mine);
  return NO_ERROR;
}

int Neuron_getL1MemorySizeKb(uint32_t *size) {
  *size = 0;
  return NO_ERROR;
}

int NeuronModel_create(Model **model) {
  *model = calloc(1, sizeof(Model));
  return NO_ERROR;
}

void NeuronModel_free(Model *model) { free(model); }

int NeuronModel_setName(Model *model, const char *name) { return NO_ERROR; }

int NeuronModel_addOperand(Model *model, const void *type) {
  model->operands++;
  return NO_ERROR;
}

int NeuronModel_setOperandValue(Model *model, int32_t index, const void *value, size_t size) {
  return in_range(model, 1, (const uint32_t *)&index) ? NO_ERROR : BAD_DATA;
}

int NeuronModel_setOperandSymmPerChannelQuantParams(Model *model, int32_t index, const void *p) {
  return in_range(model, 1, (const uint32_t *)&index) ? NO_ERROR : BAD_DATA;
}

int NeuronModel_setOperandPerChannelQuantParams(Model *model, int32_t index, const void *p) {
  return in_range(model, 1, (const uint32_t *)&index) ? NO_ERROR : BAD_DATA;
}

int NeuronModel_addOperation(Model *model, int type, uint32_t reads, const uint32_t *read,
                             uint32_t writes, const uint32_t *written) {
  if (!in_range(model, reads, read) || !in_range(model, writes, written)) return BAD_DATA;
  model->operations++;
  return NO_ERROR;
}

int NeuronModel_identifyInputsAndOutputs(Model *model, uint32_t inputs, const uint32_t *input,
                                         uint32_t outputs, const uint32_t *output) {
  bool known = in_range(model, inputs, input) && in_range(model, outputs, output);
  return known ? NO_ERROR : BAD_DATA;
}

int NeuronModel_getExtensionOperandType(Model *model, const char *name, uint16_t code,
                                        int32_t *type) {
  *type = code;
  return NO_ERROR;
}

int NeuronModel_getExtensionOperationType(Model *model, const char *name, uint16_t code,
                                          int32_t *type) {
  *type = code;
  return NO_ERROR;
}

int NeuronModel_relaxComputationFloat32toFloat16(Model *model, bool allow) { return NO_ERROR; }

int NeuronModel_finish(Model *model) {
  model->finished = true;
  return NO_ERROR;
}

int NeuronCompilation_createWithOptions(Model *model, Compilation **compilation,
                                        const char *options) {
  if (!model->finished) return BAD_STATE;
  *compilation = calloc(1, sizeof(Compilation));
  (*compilation)->model = model;
  return NO_ERROR;
}

int NeuronCompilation_create(Model *model, Compilation **compilation) {
  return NeuronCompilation_createWithOptions(model, compilation, "");
}

void NeuronCompilation_free(Compilation *compilation) { free(compilation); }

int NeuronCompilation_setPriority(Compilation *compilation, int priority) { return NO_ERROR; }

int NeuronCompilation_setPreference(Compilation *compilation, int32_t preference) {
  return NO_ERROR;
}

int NeuronCompilation_setL1MemorySizeKb(Compilation *compilation, uint32_t size) {
  return NO_ERROR;
}

int NeuronCompilation_setOptimizationHint(Compilation *compilation, uint32_t hint) {
  return NO_ERROR;
}

int NeuronCompilation_setOptimizationString(Compilation *compilation, const char *options) {
  return NO_ERROR;
}

int NeuronCompilation_getSupportedOperations(Compilation *compilation, uint32_t count,
                                             bool *supported) {
  memset(supported, true, count * sizeof(bool));
  return NO_ERROR;
}

int NeuronCompilation_finish(Compilation *compilation) {
#ifdef REFUSES
  return BAD_DATA;
#endif
  const char *chip = getenv("MTKNN_ADAPTER_DLA_PLATFORM");
  snprintf(compilation->network, sizeof compilation->network,
           "stand-in network for %s: %u operations on %u operands", chip ? chip : "no chip",
           compilation->model->operations, compilation->model->operands);
  compilation->finished = true;
  return NO_ERROR;
}

int NeuronCompilation_getCompiledNetworkSize(Compilation *compilation, size_t *size) {
  *size = sizeof compilation->network;
  return compilation->finished ? NO_ERROR : BAD_STATE;
}

int NeuronCompilation_storeCompiledNetwork(Compilation *compilation, void *out, size_t size) {
  if (!compilation->finished || size != sizeof compilation->network) return BAD_STATE;
  memcpy(out, compilation->network, size);
  return NO_ERROR;
}
