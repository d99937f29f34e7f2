#include "virtio/block_queue.h"

#include <poll.h>

#include <cerrno>
#include <ctime>
#include <system_error>
#include <utility>

namespace tsvmm {

namespace {
// Within a batch, what is done becomes visible after this many bytes: the guest goes on while we copy.
constexpr uint64_t kPublishBytes = 64 * 1024;
constexpr uint64_t kNsPerSecond = 1'000'000'000;
}  // namespace

BlockQueue::BlockQueue(EventFd wake, BlockShared& shared, Vring vring, Virtqueue queue, uint64_t features,
                       OnFailure on_failure)
    : Worker(std::move(wake)),
      shared_(shared),
      vring_(std::move(vring)),
      queue_(std::move(queue)),
      target_{&shared.file(), shared.image.get(), features, shared.serial},
      on_failure_(std::move(on_failure)),
      direct_(shared.file().options().alignment > 1),
      requests_(queue_.size()),
      poll_(default_poll_ns()) {
  for (auto& request : requests_) idle_requests_.push_back(&request);
}

void BlockQueue::add_positions(std::vector<VringPosition>& positions) const {
  positions.push_back({vring_.index, queue_.next_available(), queue_.next_used()});
}

void BlockQueue::run() {
  if (shared_.use_ring && ring_.open(queue_.size())) {
    ring_.watch(vring_.doorbell->get());
    ring_.watch(wake_event().get());
  }
  shared_.served_queues.fetch_add(1);
  queue_.disable_notifications();
  for (;;) {
    const bool stopping = is_stopping();
    bool progress = !stopping && take_requests();
    if (ring_.is_open()) {
      ring_.submit();
      progress |= reap();
      progress |= reap_from_pool();
    }
    publish();
    if (stopping && !has_in_flight()) break;
    if (stopping && !progress) {
      ring_.wait();
    } else if (!progress) {
      rest();
    }
  }
  if (shared_.served_queues.fetch_sub(1) == 1) settle_image();
}

// Whoever reads the file while the disk is not served, as for a copy, finds all of it.
void BlockQueue::settle_image() {
  if (!shared_.image) return;
  const int error = shared_.image->settle();
  if (error != 0) shared_.on_fault("its tables cannot be written: " + std::generic_category().message(-error));
  report_fault();
}

void BlockQueue::report_fault() {
  if (auto reason = shared_.image->take_fault(); !reason.empty()) shared_.on_fault(std::move(reason));
}

void BlockQueue::rest() {
  // With host I/O under way the ring wakes us for whatever comes first; the limiter lets nothing be taken before its
  // time.
  const bool limited = wait_ns_ != 0;
  const bool looks = !has_in_flight() && !limited;
  if (looks && poll_.look([this] { return queue_.has_available() || is_stopping(); })) return;
  // Where nothing can be taken no notification is wanted either.
  const bool takes = !idle_requests_.empty() && !limited;
  if (takes && queue_.enable_notifications()) return queue_.disable_notifications();
  // The event of a stop may have been taken with a completion; one that comes from here on ends the sleep.
  if (is_stopping()) return;
  sleep();
  queue_.disable_notifications();
  if (looks) poll_.slept();
  if (queue_.memory_changed()) queue_.adopt_memory();
  if (!has_in_flight()) queue_.release_memory();
}

void BlockQueue::sleep() {
  if (ring_.is_open()) return ring_.wait(wait_ns_);
  pollfd events[] = {{vring_.doorbell->get(), POLLIN, 0}, {wake_event().get(), POLLIN, 0}};
  const timespec timeout{.tv_sec = static_cast<time_t>(wait_ns_ / kNsPerSecond),
                         .tv_nsec = static_cast<long>(wait_ns_ % kNsPerSecond)};
  ppoll(events, 2, wait_ns_ == 0 ? nullptr : &timeout, nullptr);
  vring_.doorbell->drain();
  wake_event().drain();
}

bool BlockQueue::is_limited() {
  wait_ns_ = shared_.limiter ? shared_.limiter->wait_ns() : 0;
  return wait_ns_ != 0;
}

bool BlockQueue::take_requests() {
  bool progress = false;
  while (!idle_requests_.empty() && !is_limited()) {
    auto& request = *idle_requests_.back();
    const auto popped = queue_.pop(request.chain());
    if (popped == Virtqueue::Pop::kEmpty) break;
    if (popped == Virtqueue::Pop::kBroken) {
      report_failure();
      break;
    }
    const bool alone = !has_in_flight() && queue_.known_available() == 0;
    idle_requests_.pop_back();
    const bool write_through = !shared_.writeback.load(std::memory_order_relaxed);
    if (const char* reason = request.parse(target_, write_through); reason != nullptr) {
      idle_requests_.push_back(&request);
      queue_.give_up(reason);
      report_failure();
      break;
    }
    progress = true;
    if (shared_.limiter) shared_.limiter->take(request.length(), 1);
    advance(request, alone);
    if (unpublished_bytes_ >= kPublishBytes) publish();
  }
  return progress;
}

void BlockQueue::report_failure() {
  if (!std::exchange(failure_reported_, true)) on_failure_(vring_.index, queue_.failure());
}

void BlockQueue::advance(BlockRequest& request, bool alone) {
  for (;;) {
    switch (request.next(target_)) {
      case BlockRequest::Next::kHostCall:
        if (perform_inline(request, alone)) continue;
        return ring_.add(request.step(), &request);
      case BlockRequest::Next::kImage:
        // Without a ring nothing would wake this thread, and it blocks anyway.
        if (ring_.is_open()) return hand_to_pool(request);
        request.take_result(request.carry_out(target_));
        report_fault();
        continue;
      case BlockRequest::Next::kDone:
        return complete(request);
    }
  }
}

void BlockQueue::hand_to_pool(BlockRequest& request) {
  shared_.pool->add([this, &request] {
    const auto result = request.carry_out(target_);
    report_fault();
    // The queue is there until it has taken this, for which it needs the lock.
    std::lock_guard lock(mutex_);
    carried_out_.push_back({&request, result});
    wake_event().signal();
  });
}

bool BlockQueue::reap_from_pool() {
  if (!shared_.image) return false;
  std::vector<CarriedOut> all;
  {
    std::lock_guard lock(mutex_);
    all.swap(carried_out_);
  }
  for (const auto& [request, result] : all) {
    request->take_result(result);
    advance(*request, false);
  }
  return !all.empty();
}

bool BlockQueue::perform_inline(BlockRequest& request, bool alone) {
  const auto& step = request.step();
  const auto& file = *step.file;
  if (!ring_.is_open()) {
    request.take_result(file.perform(step));
    return true;
  }
  if (direct_ || step.durable) return false;
  int64_t result = -EAGAIN;
  if (step.kind == DiskStep::Kind::kRead && alone && nowait_reads_) {
    result = file.perform(step, RWF_NOWAIT);
    nowait_reads_ = result != -EOPNOTSUPP;
  } else if (step.kind == DiskStep::Kind::kWrite) {
    if (nowait_writes_) {
      result = file.perform(step, RWF_NOWAIT);
      nowait_writes_ = result != -EOPNOTSUPP;
    }
    if (!nowait_writes_) result = file.perform(step);
  }
  if (result == -EAGAIN || result == -EOPNOTSUPP) return false;
  request.take_result(result);
  return true;
}

bool BlockQueue::reap() {
  bool progress = false;
  for (IoRing::Completion completion; ring_.take(completion);) {
    progress = true;
    auto& request = *static_cast<BlockRequest*>(completion.owner);
    auto result = completion.result;
    if (result == -EAGAIN || result == -EINTR) {
      // What the ring could not do now is done here.
      result = request.step().file->perform(request.step());
    }
    request.take_result(result);
    advance(request, false);
  }
  return progress;
}

void BlockQueue::complete(BlockRequest& request) {
  const auto written = request.finish();
  queue_.mark_written(request.chain(), request.is_read() ? request.length() : written - 1);
  queue_.mark_written(request.status_address(), 1);
  queue_.push(request.chain().head, written);
  if (request.succeeded() && request.is_read()) {
    shared_.read_bytes.fetch_add(request.length(), std::memory_order_relaxed);
    shared_.read_operations.fetch_add(1, std::memory_order_relaxed);
    shared_.read_latency.add(Latency::Clock::now() - request.begun());
  } else if (request.succeeded() && request.is_write()) {
    shared_.write_bytes.fetch_add(request.length(), std::memory_order_relaxed);
    shared_.write_operations.fetch_add(1, std::memory_order_relaxed);
    shared_.write_latency.add(Latency::Clock::now() - request.begun());
  }
  unpublished_bytes_ += request.length();
  idle_requests_.push_back(&request);
}

void BlockQueue::publish() {
  unpublished_bytes_ = 0;
  if (queue_.publish()) vring_.interrupt->signal();
}

}  // namespace tsvmm
