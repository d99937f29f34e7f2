// Writes in the guest's place. That they come after the reads of whoever holds the page the kernel sees to, of which
// the thread sanitizer knows nothing: it is not told of them.
#pragma once

#include <cstddef>

#include "memory/page_bitmap.h"

namespace tsvmm::testing {

__attribute__((no_sanitize("thread"))) inline void unseen_write(std::byte* byte, std::byte value) {
  *static_cast<volatile std::byte*>(byte) = value;
}

__attribute__((no_sanitize("thread"))) inline void unseen_fill(std::byte* page, std::byte value) {
  for (auto* byte = page; byte != page + kPageBytes; ++byte) *static_cast<volatile std::byte*>(byte) = value;
}

}  // namespace tsvmm::testing
