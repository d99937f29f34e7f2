#include "migration/page_settler.h"

#include <algorithm>
#include <cstring>

namespace tsvmm {

Result<> PageSettler::settle(LazyMemory& memory, uint64_t span, const PagesFrame& frame,
                             std::span<const std::byte> pages) {
  Result<> settled = Unit{};
  const auto settle_pages = [&](unsigned first, unsigned count, PageKind kind) {
    kinds_.assign(count, kind);
    const auto bytes = pages.first(kind == PageKind::kData ? count * kImagePageSize : 0);
    pages = pages.subspan(bytes.size());
    if (settled) settled = settle_run(memory, {span * kSpanPages + first, bytes, kinds_});
  };
  const auto present = frame.data | frame.zero;
  // In the order of the pages, as a huge page is collected in it.
  for_each_run(present, [&](unsigned first, unsigned count) {
    for (const auto end = first + count; first < end;) {
      const bool is_data = (frame.data[first / kWordBits] >> (first % kWordBits) & 1) != 0;
      const auto next = std::min(next_page(frame.data, first, !is_data), end);
      settle_pages(first, next - first, is_data ? PageKind::kData : PageKind::kZero);
      first = next;
    }
  });
  return settled;
}

// Cut where a range of RAM ends.
Result<> PageSettler::settle_run(LazyMemory& memory, const PageRun& run) {
  for (size_t done = 0; done < run.kinds.size();) {
    const auto first = run.first_page + done;
    const auto* segment = memory.space().with_page(first);
    if (segment == nullptr) return Failure{EBADMSG, "a page that is not in memory"};
    const auto count = std::min<uint64_t>(run.kinds.size() - done, segment->end_page() - first);
    const bool is_data = run.kinds[done] == PageKind::kData;
    const PageRun part{first, is_data ? run.bytes.subspan(done * kImagePageSize, count * kImagePageSize) : run.bytes,
                       run.kinds.subspan(done, count)};
    if (segment->unit == 1) {
      const auto settled = memory.settle(part, LazyMemory::Zeroes::kSettleAndWake, false);
      if (!settled) return settled.failure();
    } else if (auto collected = collect(memory, *segment, part); !collected) {
      return collected;
    }
    done += count;
  }
  return Unit{};
}

Result<> PageSettler::collect(LazyMemory& memory, const PagingSegment& segment, const PageRun& run) {
  for (size_t index = 0; index < run.kinds.size(); ++index) {
    const auto page = run.first_page + index;
    const auto place = (page - segment.first_page) % segment.unit;
    if (place == 0) {
      first_ = page;
      collected_ = 0;
      is_zero_ = true;
      bytes_.assign(segment.unit * kImagePageSize, std::byte{0});
    }
    if (page != first_ + collected_) continue;
    ++collected_;
    if (run.kinds[index] == PageKind::kData) {
      is_zero_ = false;
      std::memcpy(&bytes_[place * kImagePageSize], &run.bytes[index * kImagePageSize], kImagePageSize);
    }
    if (collected_ != segment.unit) continue;
    const PageKind kind = is_zero_ ? PageKind::kZero : PageKind::kData;
    const auto settled = memory.settle({first_, bytes_, {&kind, 1}}, LazyMemory::Zeroes::kSettleAndWake, false);
    if (!settled) return settled.failure();
  }
  return Unit{};
}

}  // namespace tsvmm
