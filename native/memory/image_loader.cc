#include "memory/image_loader.h"

#include <sys/mman.h>

#include <cstring>
#include <mutex>
#include <vector>

#include "memory/image_space.h"

namespace tsvmm {

namespace {

// The first fault of several threads.
class FirstFault {
 public:
  Failure set(ImageFault fault) {
    std::lock_guard lock(mutex_);
    if (!fault_) fault_ = fault;
    return fault.failure;
  }
  // Of a finished job, which may also have ended for a reason of its own.
  std::optional<ImageFault> of(const Result<>& finished) {
    if (finished) return {};
    std::lock_guard lock(mutex_);
    return fault_ ? fault_ : ImageFault{finished.failure()};
  }

 private:
  std::mutex mutex_;
  std::optional<ImageFault> fault_;
};

// Makes the pages present at once instead of one fault a page. Where there is no memory for them this is an error, as a
// touch would be the end of the process.
Result<> populate(const ImageSpace& space, uint64_t first, uint64_t count) {
  Result<> populated = Unit{};
  space.for_each_piece(first, count, [&](uint64_t, const ImageSpace::Piece& piece) {
    while (populated && madvise(piece.host, piece.pages * kPageBytes, MADV_POPULATE_WRITE) != 0) {
      if (errno == EINTR || errno == EAGAIN) continue;
      // Before Linux 5.14 the copy does it.
      if (errno != EINVAL) populated = last_failure("madvise");
      return;
    }
  });
  return populated;
}

Result<> populate(const ImageSpace& space, uint64_t span, const SpanMask& pages) {
  Result<> populated = Unit{};
  for_each_run(pages, [&](unsigned first, unsigned run) {
    if (populated) populated = populate(space, span * kSpanPages + first, run);
  });
  return populated;
}

bool is_thread_count(unsigned threads) { return threads > 0 && threads <= kMaximumImageThreads; }

}  // namespace

std::optional<ImageFault> load_image(const ImageChain& chain, const GuestMemory& memory, unsigned threads,
                                     SpanJob& job) {
  const ImageSpace space(memory.map());
  if (!is_thread_count(threads)) return ImageFault{{EINVAL, "load memory image"}};
  if (space.pages() != chain.pages()) return ImageFault{{EINVAL, "memory image: not as large as the RAM"}};
  if (const auto gap = chain.first_gap()) return ImageFault{{EBADMSG, "memory image: in no layer"}, {}, gap};
  job.pages_total = chain.pages();
  FirstFault first_fault;
  std::vector<SpanBuffer> buffers(threads);
  const auto loaded = for_each_span(job, threads, chain.spans(), [&](unsigned worker, uint64_t span) -> Result<> {
    auto& buffer = buffers[worker];
    Result<> result = Unit{};
    chain.resolve(span, [&](size_t layer, const SpanMask& pages) {
      if (!result) return;
      const auto& reader = *chain.layers()[layer];
      const auto data = pages & reader.index().data.span(span);
      result = populate(space, span, data);
      if (!result) return;
      const auto read = reader.read_span(span, data, buffer, [&](uint64_t page, ImageReader::ConstPage bytes) {
        std::memcpy(space.host(page), bytes.data(), kPageBytes);
      });
      if (!read) result = first_fault.set({read.failure(), layer, buffer.failed_page()});
      job.pages_done += count(pages);
      job.bytes_written += count(data) * kPageBytes;
    });
    return result;
  });
  return first_fault.of(loaded);
}

std::optional<ImageFault> verify_image(const ImageChain& chain, unsigned threads, SpanJob& job) {
  if (!is_thread_count(threads)) return ImageFault{{EINVAL, "verify memory image"}};
  job.pages_total = chain.pages() * chain.layers().size();
  FirstFault first_fault;
  std::vector<SpanBuffer> buffers(threads);
  const auto verified = for_each_span(job, threads, chain.spans(), [&](unsigned worker, uint64_t span) -> Result<> {
    auto& buffer = buffers[worker];
    for (size_t layer = 0; layer < chain.layers().size(); ++layer) {
      const auto& reader = *chain.layers()[layer];
      const auto read = reader.verify_span(span, buffer);
      if (!read) return first_fault.set({read.failure(), layer, buffer.failed_page()});
      job.pages_done += std::min<uint64_t>(kSpanPages, chain.pages() - span * kSpanPages);
    }
    return Unit{};
  });
  return first_fault.of(verified);
}

}  // namespace tsvmm
