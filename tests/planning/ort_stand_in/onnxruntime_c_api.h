// For tests on machines that have ONNX Runtime's library, out of the Python wheel, but not its headers.
//
// The library hands out one table of functions, which newer versions only append to. This declares the few that
// examples/onnx/sample.cpp calls, each at its place in the table (test_onnx_examples.py runs them all). It is no copy of the header, and
// nobody should build on it: the real one comes with every release of ONNX Runtime and takes precedence.
#pragma once
#include <stddef.h>
#include <stdint.h>

#define ORT_API_VERSION 2

extern "C" {
typedef struct OrtEnv OrtEnv;
typedef struct OrtStatus OrtStatus;
typedef struct OrtMemoryInfo OrtMemoryInfo;
typedef struct OrtSession OrtSession;
typedef struct OrtSessionOptions OrtSessionOptions;
typedef struct OrtRunOptions OrtRunOptions;
typedef struct OrtValue OrtValue;
typedef struct OrtAllocator OrtAllocator;
typedef struct OrtModelMetadata OrtModelMetadata;

enum OrtLoggingLevel { ORT_LOGGING_LEVEL_WARNING = 2 };
enum OrtAllocatorType { OrtArenaAllocator = 1 };
enum OrtMemType { OrtMemTypeDefault = 0 };
enum ONNXTensorElementDataType { ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT = 1 };

#define ORT_SKIPPED(name, count) void* name[count]
struct OrtApi {
  ORT_SKIPPED(to2, 2);
  const char* (*GetErrorMessage)(const OrtStatus*);                                       // 2
  OrtStatus* (*CreateEnv)(OrtLoggingLevel, const char*, OrtEnv**);                        // 3
  ORT_SKIPPED(to7, 3);
  OrtStatus* (*CreateSession)(const OrtEnv*, const char*, const OrtSessionOptions*, OrtSession**);  // 7
  ORT_SKIPPED(to9, 1);
  OrtStatus* (*Run)(OrtSession*, const OrtRunOptions*, const char* const*, const OrtValue* const*, size_t,
                    const char* const*, size_t, OrtValue**);                              // 9
  OrtStatus* (*CreateSessionOptions)(OrtSessionOptions**);                                // 10
  ORT_SKIPPED(to49, 38);
  OrtStatus* (*CreateTensorWithDataAsOrtValue)(const OrtMemoryInfo*, void*, size_t, const int64_t*, size_t,
                                               ONNXTensorElementDataType, OrtValue**);    // 49
  ORT_SKIPPED(to51, 1);
  OrtStatus* (*GetTensorMutableData)(OrtValue*, void**);                                  // 51
  ORT_SKIPPED(to69, 17);
  OrtStatus* (*CreateCpuMemoryInfo)(OrtAllocatorType, OrtMemType, OrtMemoryInfo**);       // 69
  ORT_SKIPPED(to76, 6);
  OrtStatus* (*AllocatorFree)(OrtAllocator*, void*);                                      // 76
  ORT_SKIPPED(to78, 1);
  OrtStatus* (*GetAllocatorWithDefaultOptions)(OrtAllocator**);                           // 78
  ORT_SKIPPED(to92, 13);
  void (*ReleaseEnv)(OrtEnv*);                                                            // 92
  void (*ReleaseStatus)(OrtStatus*);                                                      // 93
  void (*ReleaseMemoryInfo)(OrtMemoryInfo*);                                              // 94
  void (*ReleaseSession)(OrtSession*);                                                    // 95
  void (*ReleaseValue)(OrtValue*);                                                        // 96
  ORT_SKIPPED(to100, 3);
  void (*ReleaseSessionOptions)(OrtSessionOptions*);                                      // 100
  ORT_SKIPPED(to111, 10);
  OrtStatus* (*SessionGetModelMetadata)(const OrtSession*, OrtModelMetadata**);           // 111
  ORT_SKIPPED(to116, 4);
  OrtStatus* (*ModelMetadataLookupCustomMetadataMap)(const OrtModelMetadata*, OrtAllocator*, const char*,
                                                     char**);                             // 116
  ORT_SKIPPED(to118, 1);
  void (*ReleaseModelMetadata)(OrtModelMetadata*);                                        // 118
};
struct OrtApiBase {
  const OrtApi* (*GetApi)(uint32_t version);
  const char* (*GetVersionString)();
};
const OrtApiBase* OrtGetApiBase();
}
