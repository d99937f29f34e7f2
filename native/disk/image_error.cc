#include "disk/image_error.h"

#include <cinttypes>
#include <cstdio>
#include <system_error>

namespace tsvmm {

std::string hexadecimal(uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof(text), "0x%" PRIx64, value);
  return text;
}

ImageError host_error(const char* operation, uint64_t offset, int error) {
  return {std::string("cannot ") + operation + " at " + hexadecimal(offset) + ": " +
          std::generic_category().message(error)};
}

}  // namespace tsvmm
