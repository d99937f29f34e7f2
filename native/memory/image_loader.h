// Loads a memory image into guest RAM, or only checks it.
#pragma once

#include <cstdint>
#include <optional>

#include "memory/guest_memory.h"
#include "memory/image_chain.h"
#include "memory/span_job.h"

namespace tsvmm {

// What went wrong, and in which layer (0 the newest) and at which page, where it is of one.
struct ImageFault {
  Failure failure;
  std::optional<size_t> layer = {};
  std::optional<uint64_t> page = {};
};

// Any thread. The memory must still be zero: zero pages are left alone. EINVAL where it is not as large as the image.
std::optional<ImageFault> load_image(const ImageChain& chain, const GuestMemory& memory, unsigned threads,
                                     SpanJob& job);

// Reads all of every layer and checks it.
std::optional<ImageFault> verify_image(const ImageChain& chain, unsigned threads, SpanJob& job);

}  // namespace tsvmm
