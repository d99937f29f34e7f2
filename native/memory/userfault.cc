#include "memory/userfault.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace tsvmm {

namespace {

constexpr const char* kNotPermitted =
    "userfaultfd (needs CAP_SYS_PTRACE, access to /dev/userfaultfd, or vm.unprivileged_userfaultfd=1)";

uint64_t address_of(const void* memory) { return reinterpret_cast<uintptr_t>(memory); }

uffdio_range range_of(std::span<const std::byte> memory) { return {address_of(memory.data()), memory.size()}; }

Result<UniqueFd> open_descriptor() {
  UniqueFd fd(static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)));
  if (fd.is_open()) return fd;
  if (errno != EPERM && errno != ENOSYS) return last_failure("userfaultfd");
  const UniqueFd device(::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC));
  if (!device.is_open()) return Failure{EPERM, kNotPermitted};
  fd.reset(ioctl(device.get(), USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK));
  if (!fd.is_open()) return last_failure("USERFAULTFD_IOC_NEW");
  return fd;
}

// `done` is what the kernel answers: bytes, or an error as a negative number.
Provided outcome(int result, int64_t answer, uint64_t& done) {
  done = answer > 0 ? static_cast<uint64_t>(answer) : 0;
  if (result == 0) return Provided::kAll;
  if (done > 0) return Provided::kSome;
  if (errno == EAGAIN) return Provided::kRetry;
  if (errno == EEXIST) return Provided::kPresent;
  // ENOENT: unregistered; ESRCH: the process ends.
  return errno == ENOENT || errno == ESRCH ? Provided::kGone : Provided::kFailed;
}

}  // namespace

Result<Userfault> Userfault::open() {
  auto fd = open_descriptor();
  if (!fd) return fd.failure();
  uffdio_api api{};
  api.api = UFFD_API;
  api.features =
      UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_MISSING_HUGETLBFS | UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_THREAD_ID;
  if (ioctl(fd.value().get(), UFFDIO_API, &api) != 0) return last_failure("UFFDIO_API");
  return Userfault(std::move(fd).value());
}

Result<> Userfault::watch(std::span<std::byte> memory) const {
  uffdio_register request{};
  request.range = range_of(memory);
  request.mode = UFFDIO_REGISTER_MODE_MISSING;
  if (ioctl(fd_.get(), UFFDIO_REGISTER, &request) != 0) return last_failure("UFFDIO_REGISTER");
  return Unit{};
}

void Userfault::unwatch(std::span<std::byte> memory) const {
  auto range = range_of(memory);
  ioctl(fd_.get(), UFFDIO_UNREGISTER, &range);
  // The kernel wakes who waits before it stops to watch: whoever comes in between would wait for ever.
  ioctl(fd_.get(), UFFDIO_WAKE, &range);
}

std::optional<UserfaultEvent> Userfault::event() const {
  using Kind = UserfaultEvent::Kind;
  uffd_msg message{};
  while (read(fd_.get(), &message, sizeof(message)) == static_cast<ssize_t>(sizeof(message))) {
    if (message.event == UFFD_EVENT_PAGEFAULT) {
      const auto& fault = message.arg.pagefault;
      const bool is_write = (fault.flags & UFFD_PAGEFAULT_FLAG_WRITE) != 0;
      return UserfaultEvent{Kind::kFault, fault.address, 0, is_write, static_cast<int>(fault.feat.ptid)};
    }
    if (message.event == UFFD_EVENT_REMOVE) {
      const auto& removed = message.arg.remove;
      return UserfaultEvent{Kind::kRemove, removed.start, removed.end - removed.start, false, 0};
    }
  }
  return {};
}

Provided Userfault::copy(std::byte* to, std::span<const std::byte> from, uint64_t& done) const {
  uffdio_copy request{};
  request.dst = address_of(to);
  request.src = address_of(from.data());
  request.len = from.size();
  const int result = ioctl(fd_.get(), UFFDIO_COPY, &request);
  return outcome(result, request.copy, done);
}

Provided Userfault::zero(std::span<std::byte> memory, uint64_t& done) const {
  uffdio_zeropage request{};
  request.range = range_of(memory);
  const int result = ioctl(fd_.get(), UFFDIO_ZEROPAGE, &request);
  return outcome(result, request.zeropage, done);
}

void Userfault::wake(std::span<std::byte> memory) const {
  auto range = range_of(memory);
  ioctl(fd_.get(), UFFDIO_WAKE, &range);
}

}  // namespace tsvmm
