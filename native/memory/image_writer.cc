#include "memory/image_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <cstring>
#include <utility>

#include "memory/crc32c.h"
#include "memory/zero_page.h"

namespace tsvmm {

namespace {

constexpr int kLowestLevel = -7;
constexpr int kHighestLevel = 19;
constexpr std::array<std::byte, kPageBytes> kZeroPage{};

using Page = std::span<std::byte, kPageBytes>;

Result<> write_all(int fd, std::span<const std::byte> bytes, uint64_t offset) {
  while (!bytes.empty()) {
    const auto written = pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return last_failure("pwrite");
    if (written == 0) return Failure{EIO, "pwrite"};
    bytes = bytes.subspan(static_cast<size_t>(written));
    offset += static_cast<uint64_t>(written);
  }
  return Unit{};
}

// Holes where the file system has them.
Result<> write_zeroes(int fd, uint64_t offset, uint64_t size) {
  while (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                   static_cast<off_t>(size)) != 0) {
    if (errno == EINTR) continue;
    if (errno != EOPNOTSUPP && errno != ENOSYS) return last_failure("fallocate");
    for (; size > 0; offset += kPageBytes, size -= kPageBytes) {
      if (auto written = write_all(fd, kZeroPage, offset); !written) return written;
    }
    return Unit{};
  }
  return Unit{};
}

struct FreeCompressor {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};

}  // namespace

// What one thread needs.
struct ImageWriter::Worker {
  std::vector<std::byte> pages;  // the data pages of a span, one after the other
  std::vector<std::byte> frame;
  SpanBuffer base;
  std::unique_ptr<ZSTD_CCtx, FreeCompressor> compressor;
};

ImageWriter::ImageWriter(ImageSpace space, const Options& options, UniqueFd fd)
    : space_(std::move(space)),
      options_(options),
      fd_(std::move(fd)),
      base_(options.base ? std::optional<ImageBase>(options.base) : std::nullopt),
      present_(space_.pages()),
      data_(space_.pages()),
      checksums_(options.form == ImageForm::kImage ? present_.spans() : 0),
      frames_(options.form == ImageForm::kZstd ? present_.spans() : 0) {}

Result<std::unique_ptr<ImageWriter>> ImageWriter::create(const GuestMemory& memory, const Options& options) {
  ImageSpace space(memory.map());
  if (space.pages() == 0 || options.threads == 0 || options.threads > kMaximumImageThreads ||
      options.level < kLowestLevel || options.level > kHighestLevel ||
      (options.base && options.base->pages() != space.pages())) {
    return Failure{EINVAL, "write memory image"};
  }
  UniqueFd fd(fcntl(options.fd, F_DUPFD_CLOEXEC, 0));
  if (!fd.is_open()) return last_failure("fcntl");
  if (ftruncate(fd.get(), 0) != 0) return last_failure("ftruncate");
  if (options.form == ImageForm::kImage) {
    if (ftruncate(fd.get(), static_cast<off_t>(space.pages() * kPageBytes)) != 0) return last_failure("ftruncate");
  }
  return std::unique_ptr<ImageWriter>(new ImageWriter(std::move(space), options, std::move(fd)));
}

Result<> ImageWriter::write(const PageBitmap* present, SpanJob& job) {
  if (present != nullptr && present->pages() != pages()) return Failure{EINVAL, "write memory image"};
  if (is_busy_.exchange(true)) return Failure{EBUSY, "write memory image"};
  const auto all = present == nullptr ? PageBitmap::all(pages()) : PageBitmap();
  const auto& asked = present == nullptr ? all : *present;
  job.pages_total = asked.count();
  std::vector<Worker> workers(options_.threads);
  auto written = for_each_span(job, options_.threads, asked.spans(), [&](unsigned worker, uint64_t span) -> Result<> {
    const auto pages = asked.span(span);
    if (is_empty(pages)) return Unit{};
    auto done = write_span(workers[worker], span, pages);
    job.pages_done += count(pages);
    job.bytes_written += count(data_.span(span) & pages) * kPageBytes;
    return done;
  });
  is_busy_ = false;
  return written;
}

Result<ImageIndex> ImageWriter::index() {
  if (is_busy_.exchange(true)) return Failure{EBUSY, "write memory image"};
  auto index = make_index();
  is_busy_ = false;
  return index;
}

ImageIndex ImageWriter::make_index() const {
  ImageIndex index;
  index.form = options_.form;
  index.present = present_;
  index.data = data_;
  for (uint64_t span = 0; span < data_.spans(); ++span) {
    const auto data = data_.span(span);
    if (is_empty(data)) continue;
    if (options_.form == ImageForm::kZstd) {
      index.frames.push_back(frames_[span]);
    } else {
      for_each_page(data, [&](unsigned page) { index.checksums.push_back((*checksums_[span])[page]); });
    }
  }
  index.rank();
  return index;
}

Result<> ImageWriter::write_span(Worker& worker, uint64_t span, const SpanMask& asked) {
  const auto present = present_.span(span);
  const bool is_frame = options_.form == ImageForm::kZstd;
  // What is in this layer already stays in it, also where it is as in the base again.
  const auto judged = base_ ? asked & ~present : SpanMask{};
  const auto written_to = options_.base_is_shown ? judged & residency_.written(space_, span, judged) : judged;
  auto wanted = (asked & ~judged) | written_to;
  if (is_empty(wanted)) return Unit{};
  if (is_frame) wanted = wanted | present;
  auto data = copy_pages(worker, span, wanted);
  if (base_) {
    const auto same = drop_same(worker, span, written_to, data);
    if (!same) return same.failure();
    wanted = wanted & ~same.value();
  }
  const auto before = data_.span(span);
  auto written = is_frame ? write_frame(worker, span, data) : write_pages(worker, span, data, before & wanted & ~data);
  if (!written) return written;
  data_.set_span(span, (before & ~wanted) | data);
  present_.set_span(span, present | wanted);
  return Unit{};
}

// Takes the pages that are as in the base out of `data` and out of the buffer, and returns them with those that are
// zero here and there.
Result<SpanMask> ImageWriter::drop_same(Worker& worker, uint64_t span, const SpanMask& judged, SpanMask& data) const {
  std::array<unsigned, kSpanPages> places{};
  unsigned copied = 0;
  for_each_page(data, [&](unsigned page) { places[page] = copied++; });
  const auto page_of = [&](unsigned page) { return worker.pages.data() + places[page] * kPageBytes; };
  auto same = base_->same(span, judged, data, page_of, worker.base);
  if (!same) return same;
  data = data & ~same.value();
  unsigned kept = 0;
  for_each_page(data, [&](unsigned page) {
    if (places[page] != kept) std::memcpy(worker.pages.data() + kept * kPageBytes, page_of(page), kPageBytes);
    ++kept;
  });
  return same;
}

// Returns which of them are not zero; those are in the buffer.
SpanMask ImageWriter::copy_pages(Worker& worker, uint64_t span, const SpanMask& wanted) {
  worker.pages.resize(kSpanBytes);
  SpanMask data{};
  unsigned copied = 0;
  for_each_page(residency_.touched(space_, span, wanted), [&](unsigned page) {
    const Page copy(worker.pages.data() + copied * kPageBytes, kPageBytes);
    std::memcpy(copy.data(), space_.host(span * kSpanPages + page), kPageBytes);
    if (is_zero(copy)) return;
    set(data, page);
    ++copied;
    if (options_.form == ImageForm::kZstd) return;
    if (!checksums_[span]) checksums_[span] = std::make_unique<Checksums>();
    (*checksums_[span])[page] = crc32c(copy);
  });
  return data;
}

Result<> ImageWriter::write_pages(Worker& worker, uint64_t span, const SpanMask& data, const SpanMask& zero) {
  const auto offset = [&](unsigned page) { return (span * kSpanPages + page) * kPageBytes; };
  Result<> written = Unit{};
  std::span<const std::byte> rest(worker.pages);
  for_each_run(data, [&](unsigned first, unsigned pages) {
    if (written) written = write_all(fd_.get(), rest.first(pages * kPageBytes), offset(first));
    rest = rest.subspan(pages * kPageBytes);
  });
  for_each_run(zero, [&](unsigned first, unsigned pages) {
    if (written) written = write_zeroes(fd_.get(), offset(first), pages * kPageBytes);
  });
  return written;
}

Result<> ImageWriter::write_frame(Worker& worker, uint64_t span, const SpanMask& data) {
  frames_[span] = {};
  const auto bytes = count(data) * kPageBytes;
  if (bytes == 0) return Unit{};
  if (!worker.compressor) {
    worker.compressor.reset(ZSTD_createCCtx());
    if (!worker.compressor) return Failure{ENOMEM, "compress memory"};
    ZSTD_CCtx_setParameter(worker.compressor.get(), ZSTD_c_compressionLevel, options_.level);
    ZSTD_CCtx_setParameter(worker.compressor.get(), ZSTD_c_checksumFlag, 1);
    worker.frame.resize(ZSTD_COMPRESSBOUND(kSpanBytes));
  }
  const auto size =
      ZSTD_compress2(worker.compressor.get(), worker.frame.data(), worker.frame.size(), worker.pages.data(), bytes);
  if (ZSTD_isError(size) != 0) return Failure{ENOMEM, "compress memory"};
  const auto frame = std::span<const std::byte>(worker.frame).first(size);
  const auto offset = file_end_.fetch_add(size);
  if (auto written = write_all(fd_.get(), frame, offset); !written) return written;
  frames_[span] = {offset, static_cast<uint32_t>(size), crc32c(frame)};
  return Unit{};
}

}  // namespace tsvmm
