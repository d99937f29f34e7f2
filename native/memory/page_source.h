// Where the pages of a saved machine come from. The "image space" is the RAM of a machine, its ranges concatenated in
// ascending order; image page n is the 4 KiB at n * 4096 of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "memory/image_reader.h"
#include "sys/result.h"

namespace tsvmm {

inline constexpr uint64_t kImagePageSize = kPageBytes;

// All calls: several threads at once, none of them JavaScript's. An implementation may block for I/O, and must never
// touch guest memory or wait for a thread that does: that thread may be waiting for this very page.
class PageSource {
 public:
  virtual ~PageSource() = default;

  // Fills `page` and says kData; or says kZero, `page` being undefined then; never kAbsent. EBADMSG for contents that
  // are not those that were saved, EIO behind the end of the image.
  virtual Result<PageKind> read(uint64_t image_page, std::span<std::byte, kImagePageSize> page) = 0;

  // Pages first to first + kinds.size() - 1 into `bytes`, which is as many pages long. On failure all is undefined; the
  // caller asks again page by page then.
  virtual Result<> read_run(uint64_t first, std::span<std::byte> bytes, std::span<PageKind> kinds) {
    for (size_t index = 0; index < kinds.size(); ++index) {
      const auto page = bytes.subspan(index * kImagePageSize).first<kImagePageSize>();
      auto kind = read(first + index, page);
      if (!kind) return kind.failure();
      kinds[index] = kind.value();
    }
    return Unit{};
  }
};

}  // namespace tsvmm
