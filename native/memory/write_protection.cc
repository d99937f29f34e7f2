#include "memory/write_protection.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "memory/mapping.h"

namespace tsvmm {

namespace {

#ifndef UFFD_FEATURE_WP_HUGETLBFS_SHMEM
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM (1 << 12)  // Linux 5.19
#endif
#ifndef PR_GET_MEMORY_MERGE
#define PR_GET_MEMORY_MERGE 68  // Linux 6.4
#endif

constexpr const char* kOperation = "write-protect memory";
constexpr Failure kNotSupported{ENOTSUP, kOperation};

// Documentation/admin-guide/mm/pagemap.rst, since Linux 5.14.
constexpr uint64_t kHeld = 1ull << 57;

using Entries = std::array<uint64_t, kSpanPages>;

Result<> read_entries(int pagemap, const std::byte* host, uint64_t pages, Entries& entries) {
  const auto bytes = static_cast<ssize_t>(pages * sizeof(uint64_t));
  const auto offset = reinterpret_cast<uintptr_t>(host) / kPageBytes * sizeof(uint64_t);
  const auto count = pread(pagemap, entries.data(), static_cast<size_t>(bytes), static_cast<off_t>(offset));
  if (count < 0) return last_failure("read /proc/self/pagemap");
  if (count != bytes) return Failure{EIO, "read /proc/self/pagemap"};
  return Unit{};
}

Result<UniqueFd> open_descriptor() {
  UniqueFd fd(static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)));
  if (fd.is_open()) return fd;
  if (errno != EPERM && errno != ENOSYS) return last_failure("userfaultfd");
  const UniqueFd device(::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC));
  if (!device.is_open()) return Failure{EPERM, "userfaultfd"};
  fd.reset(ioctl(device.get(), USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK));
  if (!fd.is_open()) return last_failure("USERFAULTFD_IOC_NEW");
  return fd;
}

uffdio_range range_of(const std::byte* host, uint64_t pages) {
  return {reinterpret_cast<uintptr_t>(host), pages * kPageBytes};
}

Result<> watch(int fd, const std::byte* host, uint64_t pages) {
  uffdio_register request{};
  request.range = range_of(host, pages);
  request.mode = UFFDIO_REGISTER_MODE_WP;
  if (ioctl(fd, UFFDIO_REGISTER, &request) != 0) {
    return errno == EINVAL ? kNotSupported : last_failure("UFFDIO_REGISTER");
  }
  return Unit{};
}

Result<> set_protection(int fd, const std::byte* host, uint64_t pages, bool is_on) {
  uffdio_writeprotect request{};
  request.range = range_of(host, pages);
  request.mode = is_on ? UFFDIO_WRITEPROTECT_MODE_WP : 0;
  while (ioctl(fd, UFFDIO_WRITEPROTECT, &request) != 0) {
    if (errno != EAGAIN && errno != EINTR) return last_failure("UFFDIO_WRITEPROTECT");
  }
  return Unit{};
}

struct UnmapPage {
  void operator()(std::byte* page) const { munmap(page, kPageBytes); }
};

// Whether the page table tells what is held: otherwise all would be taken for zero.
Result<> try_on_a_page(int fd, int pagemap) {
  auto* mapped = mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (mapped == MAP_FAILED) return last_failure("mmap");
  const std::unique_ptr<std::byte, UnmapPage> page(static_cast<std::byte*>(mapped));
  if (auto watched = watch(fd, page.get(), 1); !watched) return watched;
  if (auto held = set_protection(fd, page.get(), 1, true); !held) return held;
  Entries entries{};
  if (auto read = read_entries(pagemap, page.get(), 1, entries); !read) return read;
  if ((entries[0] & kHeld) == 0) return kNotSupported;
  return Unit{};
}

}  // namespace

Result<WriteProtection> WriteProtection::prepare(const ImageSpace& space) {
  bool is_plain = true;
  bool is_shared = false;
  space.for_each_piece(0, space.pages(), [&](uint64_t, const ImageSpace::Piece& piece) {
    is_plain = is_plain && piece.mapping->is_plain();
    is_shared = is_shared || piece.mapping->is_shared();
  });
  // Of a page that is merged (KSM) the protection is forgotten.
  if (!is_plain || prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0) == 1) return kNotSupported;
  auto fd = open_descriptor();
  if (!fd) return fd.failure();
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | (is_shared ? UFFD_FEATURE_WP_HUGETLBFS_SHMEM : 0);
  if (ioctl(fd.value().get(), UFFDIO_API, &api) != 0) {
    return errno == EINVAL ? kNotSupported : last_failure("UFFDIO_API");
  }
  UniqueFd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  if (!pagemap.is_open()) return last_failure("open /proc/self/pagemap");
  if (auto tried = try_on_a_page(fd.value().get(), pagemap.get()); !tried) return tried.failure();
  Result<> watched = Unit{};
  space.for_each_piece(0, space.pages(), [&](uint64_t, const ImageSpace::Piece& piece) {
    if (watched) watched = watch(fd.value().get(), piece.host, piece.pages);
  });
  if (!watched) return watched.failure();
  return WriteProtection(space, std::move(fd).value(), std::move(pagemap));
}

Result<> WriteProtection::protect(uint64_t first_page, uint64_t count) const {
  Result<> done = Unit{};
  space_.for_each_piece(first_page, count, [&](uint64_t, const ImageSpace::Piece& piece) {
    if (done) done = set_protection(fd_.get(), piece.host, piece.pages, true);
  });
  return done;
}

Result<SpanMask> WriteProtection::held(uint64_t span) const {
  const auto first = span * kSpanPages;
  SpanMask held{};
  Result<> done = Unit{};
  space_.for_each_piece(first, std::min<uint64_t>(kSpanPages, space_.pages() - first), [&](uint64_t at, auto piece) {
    Entries entries{};
    if (done) done = read_entries(pagemap_.get(), piece.host, piece.pages, entries);
    for (unsigned page = 0; page < piece.pages; ++page) {
      if ((entries[page] & kHeld) != 0) set(held, static_cast<unsigned>(at - first) + page);
    }
  });
  if (!done) return done.failure();
  return held;
}

Result<> WriteProtection::lift(uint64_t first_page, uint64_t count) const {
  Result<> done = Unit{};
  space_.for_each_piece(first_page, count, [&](uint64_t, const ImageSpace::Piece& piece) {
    if (done) done = set_protection(fd_.get(), piece.host, piece.pages, false);
  });
  return done;
}

void WriteProtection::lift_all() const {
  space_.for_each_piece(0, space_.pages(), [&](uint64_t, const ImageSpace::Piece& piece) {
    static_cast<void>(set_protection(fd_.get(), piece.host, piece.pages, false));
    auto range = range_of(piece.host, piece.pages);
    ioctl(fd_.get(), UFFDIO_UNREGISTER, &range);
    // Unregistering wakes only who waits for pages that are missing.
    ioctl(fd_.get(), UFFDIO_WAKE, &range);
  });
}

std::optional<uint64_t> WriteProtection::awaited() const {
  uffd_msg message{};
  while (read(fd_.get(), &message, sizeof(message)) == static_cast<ssize_t>(sizeof(message))) {
    if (message.event != UFFD_EVENT_PAGEFAULT) continue;
    // SAFETY: only compared with the ends of the ranges.
    const auto* host = reinterpret_cast<const std::byte*>(message.arg.pagefault.address);
    if (const auto page = space_.page_of(host)) return page;
  }
  return {};
}

}  // namespace tsvmm
