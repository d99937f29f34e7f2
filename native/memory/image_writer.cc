#include "memory/image_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <cstring>
#include <utility>

#include "memory/zero_page.h"
#include "sys/crc32c.h"

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

struct ImageWriter::Worker {
  std::vector<std::byte> frame;
  SpanBuffer base;
  std::unique_ptr<ZSTD_CCtx, FreeCompressor> compressor;
};

std::shared_ptr<ImageWriter::Worker> ImageWriter::make_worker() { return std::make_shared<Worker>(); }

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

Result<> ImageWriter::begin() {
  if (is_busy_.exchange(true)) return Failure{EBUSY, "write memory image"};
  return Unit{};
}

Result<> ImageWriter::write(const PageBitmap* present, SpanJob& job) {
  if (present != nullptr && present->pages() != pages()) return Failure{EINVAL, "write memory image"};
  if (auto begun = begin(); !begun) return begun;
  const auto all = present == nullptr ? PageBitmap::all(pages()) : PageBitmap();
  const auto& asked = present == nullptr ? all : *present;
  job.pages_total = asked.count();
  std::vector<Worker> workers(options_.threads);
  std::vector<SpanCopy> copies(options_.threads);
  auto written = for_each_span(job, options_.threads, asked.spans(), [&](unsigned worker, uint64_t span) -> Result<> {
    const auto pages = asked.span(span);
    if (is_empty(pages)) return Unit{};
    copy(copies[worker], span, pages);
    return store(workers[worker], copies[worker], job);
  });
  end();
  return written;
}

Result<ImageIndex> ImageWriter::index() {
  if (auto begun = begin(); !begun) return begun.failure();
  auto index = make_index();
  end();
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

void ImageWriter::copy(SpanCopy& copy, uint64_t span, const SpanMask& asked, const SpanMask& zero) const {
  const auto present = present_.span(span);
  // What is in this layer already stays in it, also where it is as in the base again.
  const auto judged = base_ ? asked & ~present : SpanMask{};
  copy.span = span;
  copy.asked = asked;
  copy.judged = options_.base_is_shown ? judged & residency_.written(space_, span, judged) : judged;
  copy.wanted = (asked & ~judged) | copy.judged;
  copy.copied = {};
  if (is_empty(copy.wanted)) return;
  if (options_.form == ImageForm::kZstd) copy.wanted = copy.wanted | present;
  copy.copied = residency_.touched(space_, span, copy.wanted & ~zero);
  copy.pages.resize(kSpanBytes);
  auto* to = copy.pages.data();
  for_each_page(copy.copied, [&](unsigned page) {
    std::memcpy(to, space_.host(span * kSpanPages + page), kPageBytes);
    to += kPageBytes;
  });
}

Result<> ImageWriter::store(Worker& worker, SpanCopy& copy, SpanJob& job) {
  job.pages_done += count(copy.asked);
  if (is_empty(copy.wanted)) return Unit{};
  const auto kept = keep_data(worker, copy);
  if (!kept) return kept.failure();
  const auto& data = kept.value();
  const auto before = data_.span(copy.span);
  auto written = options_.form == ImageForm::kZstd ? write_frame(worker, copy, data)
                                                   : write_pages(copy, data, before & copy.wanted & ~data);
  if (!written) return written;
  data_.set_span(copy.span, (before & ~copy.wanted) | data);
  present_.set_span(copy.span, present_.span(copy.span) | copy.wanted);
  job.bytes_written += count(data & copy.asked) * kPageBytes;
  return Unit{};
}

// Leaves in the buffer the pages that are not zero, and neither there nor in `wanted` those that are as in the base.
// Returns which are in the buffer.
Result<SpanMask> ImageWriter::keep_data(Worker& worker, SpanCopy& copy) {
  std::array<std::byte*, kSpanPages> places{};
  auto* place = copy.pages.data();
  SpanMask data{};
  for_each_page(copy.copied, [&](unsigned page) {
    places[page] = std::exchange(place, place + kPageBytes);
    const Page bytes(places[page], kPageBytes);
    if (is_zero(bytes)) return;
    set(data, page);
    if (options_.form == ImageForm::kZstd) return;
    if (!checksums_[copy.span]) checksums_[copy.span] = std::make_unique<Checksums>();
    (*checksums_[copy.span])[page] = crc32c(bytes);
  });
  if (base_) {
    const auto page_of = [&](unsigned page) { return places[page]; };
    const auto same = base_->same(copy.span, copy.judged, data, page_of, worker.base);
    if (!same) return same.failure();
    data = data & ~same.value();
    copy.wanted = copy.wanted & ~same.value();
  }
  place = copy.pages.data();
  for_each_page(data, [&](unsigned page) {
    if (places[page] != place) std::memcpy(place, places[page], kPageBytes);
    place += kPageBytes;
  });
  return data;
}

Result<> ImageWriter::write_pages(const SpanCopy& copy, const SpanMask& data, const SpanMask& zero) {
  const auto offset = [&](unsigned page) { return (copy.span * kSpanPages + page) * kPageBytes; };
  Result<> written = Unit{};
  std::span<const std::byte> rest(copy.pages);
  for_each_run(data, [&](unsigned first, unsigned pages) {
    if (written) written = write_all(fd_.get(), rest.first(pages * kPageBytes), offset(first));
    rest = rest.subspan(pages * kPageBytes);
  });
  for_each_run(zero, [&](unsigned first, unsigned pages) {
    if (written) written = write_zeroes(fd_.get(), offset(first), pages * kPageBytes);
  });
  return written;
}

Result<> ImageWriter::write_frame(Worker& worker, const SpanCopy& copy, const SpanMask& data) {
  frames_[copy.span] = {};
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
      ZSTD_compress2(worker.compressor.get(), worker.frame.data(), worker.frame.size(), copy.pages.data(), bytes);
  if (ZSTD_isError(size) != 0) return Failure{ENOMEM, "compress memory"};
  const auto frame = std::span<const std::byte>(worker.frame).first(size);
  const auto offset = file_end_.fetch_add(size);
  if (auto written = write_all(fd_.get(), frame, offset); !written) return written;
  frames_[copy.span] = {offset, static_cast<uint32_t>(size), crc32c(frame)};
  return Unit{};
}

}  // namespace tsvmm
