#include "io/ring.h"

#include <poll.h>

namespace tsvmm {

namespace {

constexpr unsigned kMaximumSubmissions = 256;
constexpr unsigned kWatches = 8;
constexpr uint64_t kNsPerSecond = 1'000'000'000;
// A watch's user data is its descriptor with this bit; a step's is its owner's address, which is even.
constexpr uint64_t kWatchBit = 1;

unsigned power_of_two(unsigned value) {
  unsigned power = 1;
  while (power < value) power *= 2;
  return power;
}

}  // namespace

IoRing::~IoRing() {
  if (open_) io_uring_queue_exit(&ring_);
}

Result<> IoRing::open(unsigned in_flight) {
  const auto submissions =
      power_of_two(in_flight + kWatches < kMaximumSubmissions ? in_flight + kWatches : kMaximumSubmissions);
  // Completions run in this thread, when it asks for them: no interrupts between. Older kernels know less.
  const unsigned variants[] = {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
                               IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG, 0};
  int error = 0;
  for (const auto flags : variants) {
    io_uring_params parameters{};
    parameters.flags = flags | IORING_SETUP_CQSIZE;
    parameters.cq_entries = power_of_two(2 * (in_flight + kWatches));
    error = io_uring_queue_init_params(submissions, &ring_, &parameters);
    if (error == 0) {
      open_ = true;
      return Unit{};
    }
    if (error != -EINVAL) break;
  }
  return Failure{-error, "io_uring_setup"};
}

io_uring_sqe* IoRing::next_entry() {
  auto* entry = io_uring_get_sqe(&ring_);
  while (entry == nullptr) {
    submit();
    entry = io_uring_get_sqe(&ring_);
    if (entry == nullptr) io_uring_get_events(&ring_);
  }
  return entry;
}

void IoRing::watch(int fd) { arm(fd); }

void IoRing::arm(int fd) {
  auto* entry = next_entry();
  io_uring_prep_poll_multishot(entry, fd, POLLIN);
  io_uring_sqe_set_data64(entry, static_cast<uint64_t>(fd) << 1 | kWatchBit);
}

void IoRing::add(const DiskStep& step, void* owner) {
  const int fd = step.file->fd();
  auto* entry = next_entry();
  switch (step.kind) {
    case DiskStep::Kind::kRead:
      io_uring_prep_readv(entry, fd, step.pieces, step.count, step.offset);
      break;
    case DiskStep::Kind::kWrite:
      io_uring_prep_writev2(entry, fd, step.pieces, step.count, step.offset, step.durable ? RWF_DSYNC : 0);
      break;
    case DiskStep::Kind::kSync:
      io_uring_prep_fsync(entry, fd, IORING_FSYNC_DATASYNC);
      break;
    case DiskStep::Kind::kAllocate:
      io_uring_prep_fallocate(entry, fd, step.mode, static_cast<off_t>(step.offset), static_cast<off_t>(step.length));
      break;
  }
  io_uring_sqe_set_data(entry, owner);
}

void IoRing::submit() {
  while (io_uring_sq_ready(&ring_) != 0) {
    const int submitted = io_uring_submit(&ring_);
    // EBUSY, EAGAIN: the kernel wants completions taken or memory back first; what is left goes with the next wait().
    if (submitted < 0 && submitted != -EINTR) break;
  }
}

void IoRing::wait(uint64_t most_ns) {
  if (most_ns == 0) {
    io_uring_submit_and_wait(&ring_, 1);
    return;
  }
  __kernel_timespec timeout{.tv_sec = static_cast<int64_t>(most_ns / kNsPerSecond),
                            .tv_nsec = static_cast<int64_t>(most_ns % kNsPerSecond)};
  io_uring_cqe* entry = nullptr;
  io_uring_submit_and_wait_timeout(&ring_, &entry, 1, &timeout, nullptr);
}

bool IoRing::take(Completion& completion) {
  io_uring_cqe* entry = nullptr;
  while (io_uring_peek_cqe(&ring_, &entry) == 0) {
    const auto data = io_uring_cqe_get_data64(entry);
    const auto result = entry->res;
    const bool more = (entry->flags & IORING_CQE_F_MORE) != 0;
    io_uring_cqe_seen(&ring_, entry);
    if ((data & kWatchBit) == 0) {
      completion = {reinterpret_cast<void*>(data), result};
      return true;
    }
    // The kernel ends a watch when its completions overflowed.
    if (!more) arm(static_cast<int>(data >> 1));
  }
  return false;
}

}  // namespace tsvmm
