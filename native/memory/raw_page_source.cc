#include "memory/raw_page_source.h"

#include <fcntl.h>
#include <sys/types.h>

#include <cstring>

namespace tsvmm {

namespace {

bool is_zero(std::span<const std::byte> page) {
  return page[0] == std::byte{0} && std::memcmp(page.data(), page.data() + 1, page.size() - 1) == 0;
}

}  // namespace

Result<std::shared_ptr<PageSource>> RawPageSource::open(int fd, uint64_t offset) {
  UniqueFd own(fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!own.is_open()) return last_failure("fcntl");
  return std::shared_ptr<PageSource>(new RawPageSource(std::move(own), offset));
}

Result<PageKind> RawPageSource::read(uint64_t image_page, std::span<std::byte, kImagePageSize> page) {
  PageKind kind{};
  const auto done = read_run(image_page, page, {&kind, 1});
  if (!done) return done.failure();
  return kind;
}

Result<> RawPageSource::read_run(uint64_t first, std::span<std::byte> bytes, std::span<PageKind> kinds) {
  auto position = offset_ + first * kImagePageSize;
  for (auto rest = bytes; !rest.empty();) {
    const auto count = pread(fd_.get(), rest.data(), rest.size(), static_cast<off_t>(position));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return last_failure("read memory image");
    if (count == 0) return Failure{EIO, "read past the end of the memory image"};
    rest = rest.subspan(static_cast<size_t>(count));
    position += static_cast<uint64_t>(count);
  }
  for (size_t index = 0; index < kinds.size(); ++index) {
    const auto page = bytes.subspan(index * kImagePageSize, kImagePageSize);
    kinds[index] = is_zero(page) ? PageKind::kZero : PageKind::kData;
  }
  return Unit{};
}

}  // namespace tsvmm
