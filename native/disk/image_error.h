// Why an image is not taken: one line for whoever gave it, that says what is wrong and where in the file.
#pragma once

#include <cstdint>
#include <string>

#include "sys/result.h"

namespace tsvmm {

struct ImageError {
  std::string reason;
};

template <typename T = Unit>
using ImageResult = Result<T, ImageError>;

// "0x10000"
std::string hexadecimal(uint64_t value);

// A host call that failed: "cannot read at 0x10000: Input/output error".
ImageError host_error(const char* operation, uint64_t offset, int error);

}  // namespace tsvmm
