#include "memory/mapping.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <thread>
#include <utility>
#include <vector>

#include "sys/thread.h"

namespace tsvmm {

namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kTwoMib = 2ull << 20;
constexpr uint64_t kMaximumPage = 1ull << 30;
// Far more than an address space holds, and small enough to add to.
constexpr uint64_t kMaximumSize = 1ull << 56;
// More threads than this wait for the kernel's zeroing of pages rather than help with it.
constexpr unsigned kMaximumPrefaultThreads = 16;

// What is not of the size and the pages that were asked for is none of a machine like this one.
Result<UniqueFd> adopt_memfd(const MappingOptions& options) {
  UniqueFd fd(fcntl(options.memfd, F_DUPFD_CLOEXEC, 0));
  if (!fd.is_open()) return last_failure("fcntl");
  struct stat status {};
  if (fstat(fd.get(), &status) != 0) return last_failure("fstat");
  const bool is_of_size = S_ISREG(status.st_mode) && static_cast<uint64_t>(status.st_size) == options.size;
  const bool is_of_pages =
      options.huge_page_size == 0 || static_cast<uint64_t>(status.st_blksize) == options.huge_page_size;
  if (!is_of_size || !is_of_pages || options.file_offset != 0) return Failure{ENXIO, "map memory of another machine"};
  return fd;
}

Result<UniqueFd> open_backing(const MappingOptions& options) {
  if (options.backing == MappingOptions::Backing::kFile) {
    UniqueFd fd(::open(options.path.c_str(), (options.shared ? O_RDWR : O_RDONLY) | O_CLOEXEC));
    if (!fd.is_open()) return last_failure("open");
    struct stat status {};
    if (fstat(fd.get(), &status) != 0) return last_failure("fstat");
    // An access behind the end of a file kills the process. Devices (DAX) have no size here and refuse by themselves.
    const auto end = S_ISREG(status.st_mode) ? static_cast<uint64_t>(status.st_size) : UINT64_MAX;
    if (options.file_offset > end || options.size > end - options.file_offset) return Failure{ENXIO, "map file"};
    return fd;
  }
  if (options.memfd >= 0) return adopt_memfd(options);
  unsigned flags = MFD_CLOEXEC;
  if (options.huge_page_size != 0) {
    flags |= MFD_HUGETLB | static_cast<unsigned>(std::countr_zero(options.huge_page_size)) << MFD_HUGE_SHIFT;
  }
  UniqueFd fd(memfd_create("guest-ram", flags));
  if (!fd.is_open()) return last_failure("memfd_create");
  if (ftruncate(fd.get(), static_cast<off_t>(options.size)) != 0) return last_failure("ftruncate");
  return fd;
}

// mmap aligned to `alignment` by reserving more and giving the rest back.
Result<std::byte*> map_aligned(uint64_t size, uint64_t alignment, int flags, int fd, uint64_t offset) {
  const auto reserved = size + alignment;
  auto* area = mmap(nullptr, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (area == MAP_FAILED) return last_failure("mmap");
  const auto base = reinterpret_cast<uintptr_t>(area);
  const auto aligned = (base + alignment - 1) & ~(alignment - 1);
  auto* wanted = reinterpret_cast<void*>(aligned);
  // SAFETY: [aligned, aligned + size) lies within the area reserved above, which nobody else knows.
  auto* mapped = mmap(wanted, size, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, static_cast<off_t>(offset));
  if (mapped == MAP_FAILED) {
    const auto failure = last_failure("mmap");
    munmap(area, reserved);
    return failure;
  }
  if (aligned > base) munmap(area, aligned - base);
  if (const auto end = base + reserved; end > aligned + size) {
    munmap(reinterpret_cast<void*>(aligned + size), end - aligned - size);
  }
  return static_cast<std::byte*>(mapped);
}

// Makes pages present and writable. Where there is no memory for one this is an error, as a touch would be the end of
// the process.
int populate(std::byte* host, uint64_t size) {
  while (madvise(host, size, MADV_POPULATE_WRITE) != 0) {
    if (errno == EINTR || errno == EAGAIN) continue;
    return errno;
  }
  return 0;
}

Result<> prefault(std::byte* host, uint64_t size, uint64_t page) {
  const auto pages = size / page;
  const auto cores = std::clamp(std::thread::hardware_concurrency(), 1u, kMaximumPrefaultThreads);
  const auto count = std::min<uint64_t>(cores, pages);
  std::atomic<int> error = 0;
  const auto populate_part = [&](uint64_t index) {
    const auto first = pages * index / count;
    const auto last = pages * (index + 1) / count;
    if (const int failed = populate(host + first * page, (last - first) * page); failed != 0) error = failed;
  };
  {
    std::vector<Thread> threads;
    for (uint64_t index = 1; index < count; ++index) {
      auto started = Thread::start({"prefault"}, [&populate_part, index] { populate_part(index); });
      if (started) {
        threads.push_back(std::move(started).value());
      } else {
        populate_part(index);
      }
    }
    populate_part(0);
  }
  if (error != 0) return Failure{error, "madvise"};
  return Unit{};
}

Result<> bind_to_node(std::byte* host, uint64_t size, int node) {
  constexpr unsigned kBits = 64;
  std::vector<uint64_t> mask(static_cast<unsigned>(node) / kBits + 1);
  mask.back() = 1ull << (static_cast<unsigned>(node) % kBits);
  // The kernel counts one bit more than it reads.
  const auto bits = mask.size() * kBits + 1;
  if (syscall(SYS_mbind, host, size, MPOL_BIND, mask.data(), bits, MPOL_MF_STRICT | MPOL_MF_MOVE) != 0) {
    return last_failure("mbind");
  }
  return Unit{};
}

}  // namespace

Mapping::Mapping(std::byte* host, const MappingOptions& options, UniqueFd fd)
    : host_(host),
      size_(options.size),
      options_(options),
      fd_(std::move(fd)),
      shows_file_(options.backing == MappingOptions::Backing::kFile && !options.shared) {}

Result<std::shared_ptr<Mapping>> Mapping::create(const MappingOptions& options,
                                                 const std::function<Result<>(Mapping&)>& fill) {
  const auto page = options.huge_page_size != 0 ? options.huge_page_size : kPage;
  if (!std::has_single_bit(page) || page < kPage || page > kMaximumPage || options.size > kMaximumSize) {
    return Failure{EINVAL, "map memory"};
  }
  if (options.size == 0 || options.size % page != 0 || options.file_offset % page != 0) {
    return Failure{EINVAL, "map memory"};
  }
  UniqueFd fd;
  const bool anonymous = options.backing == MappingOptions::Backing::kAnonymous && options.huge_page_size == 0;
  if (!anonymous) {
    auto opened = open_backing(options);
    if (!opened) return opened.failure();
    fd = std::move(opened).value();
  }
  // Huge pages are always set aside: without, a touch of one that is not there would be the end of the process
  // (SIGBUS).
  const bool reserve = options.reserve || options.huge_page_size != 0;
  const int flags =
      (options.shared ? MAP_SHARED : MAP_PRIVATE) | (anonymous ? MAP_ANONYMOUS : 0) | (reserve ? 0 : MAP_NORESERVE);
  auto mapped =
      map_aligned(options.size, std::max(page, kTwoMib), flags, fd.get(), anonymous ? 0 : options.file_offset);
  if (!mapped) return mapped.failure();
  auto* host = mapped.value();
  std::shared_ptr<Mapping> mapping(new Mapping(host, options, std::move(fd)));
  if (fill) {
    if (auto filled = fill(*mapping); !filled) return filled.failure();
  }
  if (auto advised = mapping->advise(); !advised) return advised.failure();
  if (options.prefault) {
    if (auto populated = prefault(host, options.size, page); !populated) return populated.failure();
  }
  return mapping;
}

Mapping::~Mapping() { munmap(host_, size_); }

Result<> Mapping::advise() {
  // Kernels built without the feature refuse it, and nothing is lost then.
  if (options_.thp) madvise(host_, size_, MADV_HUGEPAGE);
  if (options_.mergeable) madvise(host_, size_, MADV_MERGEABLE);
  madvise(host_, size_, MADV_DONTDUMP);
  if (options_.host_numa_node >= 0) return bind_to_node(host_, size_, options_.host_numa_node);
  return Unit{};
}

Result<> Mapping::overlay(uint64_t offset, uint64_t size, int fd, uint64_t file_offset) {
  if (offset > size_ || size > size_ - offset) return Failure{EINVAL, "map file"};
  const int flags = MAP_PRIVATE | MAP_FIXED | (fd < 0 ? MAP_ANONYMOUS : 0) | (options_.reserve ? 0 : MAP_NORESERVE);
  // SAFETY: [offset, offset + size) lies within this mapping.
  auto* mapped = mmap(host_ + offset, size, PROT_READ | PROT_WRITE, flags, fd, static_cast<off_t>(file_offset));
  if (mapped == MAP_FAILED) return last_failure("mmap");
  if (fd >= 0) shows_file_ = true;
  return Unit{};
}

Result<> Mapping::discard() {
  if (!shows_file_) {
    if (madvise(host_, size_, options_.shared ? MADV_REMOVE : MADV_DONTNEED) != 0) return last_failure("madvise");
    set_contents(nullptr);
    return Unit{};
  }
  // The file would show again.
  if (auto replaced = overlay(0, size_, -1, 0); !replaced) return replaced.failure();
  shows_file_ = false;
  set_contents(nullptr);
  return advise();
}

Result<> Mapping::discard(uint64_t offset, uint64_t size) {
  const bool is_private_file = !options_.shared && options_.backing == MappingOptions::Backing::kFile;
  if (shows_file_ || is_private_file) return Failure{ENOTSUP, "discard"};
  // What a private mapping has touched of a memfd is there, too, zero: the page would not be missing.
  const bool is_private_memfd = !options_.shared && options_.backing == MappingOptions::Backing::kMemfd;
  constexpr int kHole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  if (is_private_memfd && fallocate(fd_.get(), kHole, static_cast<off_t>(offset), static_cast<off_t>(size)) != 0) {
    return last_failure("fallocate");
  }
  if (madvise(host_ + offset, size, options_.shared ? MADV_REMOVE : MADV_DONTNEED) != 0) return last_failure("madvise");
  return Unit{};
}

void Mapping::set_contents(std::shared_ptr<const PageBitmap> contents) {
  std::lock_guard lock(mutex_);
  contents_ = std::move(contents);
}

std::shared_ptr<const PageBitmap> Mapping::contents() const {
  std::lock_guard lock(mutex_);
  return contents_;
}

Mapping::Untouched Mapping::untouched() const {
  if (shows_file_ && !contents()) return Untouched::kUnknown;
  if (!options_.shared) return Untouched::kNotInPageTable;
  // Without a memfd, or on hugetlbfs, nobody says what another process touched.
  const bool is_memfd = options_.backing == MappingOptions::Backing::kMemfd && options_.huge_page_size == 0;
  return is_memfd ? Untouched::kHole : Untouched::kUnknown;
}

bool Mapping::is_plain() const {
  const auto plain = options_.shared ? MappingOptions::Backing::kMemfd : MappingOptions::Backing::kAnonymous;
  return options_.backing == plain && options_.huge_page_size == 0 && !options_.mergeable && !shows_file_ &&
         contents() == nullptr;
}

}  // namespace tsvmm
