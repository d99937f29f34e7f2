#include "memory/frozen_image.h"

#include <poll.h>

#include <algorithm>
#include <utility>

namespace tsvmm {

namespace {

constexpr unsigned kMostAside = 64;  // spans: 64 MiB

}  // namespace

Result<std::unique_ptr<FrozenImage>> FrozenImage::prepare(std::shared_ptr<ImageWriter> writer) {
  auto over = EventFd::create();
  if (!over) return over.failure();
  auto protection = WriteProtection::prepare(writer->space());
  if (!protection) return protection.failure();
  return std::unique_ptr<FrozenImage>(
      new FrozenImage(std::move(writer), std::move(protection).value(), std::move(over).value()));
}

FrozenImage::~FrozenImage() {
  if (job_) job_->is_cancelled = true;
  finish();
}

Result<> FrozenImage::freeze(const PageBitmap* present, std::shared_ptr<SpanJob> job) {
  if (job_ || (present != nullptr && present->pages() != writer_->pages())) return Failure{EINVAL, "freeze memory"};
  if (auto begun = writer_->begin(); !begun) return begun;
  is_pass_ = true;
  job_ = std::move(job);
  asked_ = present == nullptr ? PageBitmap::all(writer_->pages()) : *present;
  job_->pages_total = asked_.count();
  is_taken_.resize(asked_.spans());
  for (uint64_t span = 0; span < asked_.spans(); ++span) {
    is_taken_[span] = is_empty(asked_.span(span));
    if (!is_taken_[span]) ++left_;
  }
  auto frozen = protect();
  if (frozen) frozen = start_threads();
  if (frozen) return frozen;
  fail(frozen.failure());
  finish();
  return frozen;
}

// Whole spans; those that were not asked for stay as they are.
Result<> FrozenImage::protect() const {
  for (uint64_t span = 0; span < asked_.spans(); ++span) {
    if (is_taken_[span]) continue;
    const auto first = span;
    while (span < asked_.spans() && !is_taken_[span]) ++span;
    const auto end = std::min(span * kSpanPages, asked_.pages());
    if (auto held = protection_.protect(first * kSpanPages, end - first * kSpanPages); !held) return held;
  }
  return Unit{};
}

Result<> FrozenImage::start_threads() {
  auto server = Thread::start({"memory-freeze"}, [this] { serve(); });
  if (!server) return server.failure();
  server_.emplace(std::move(server).value());
  for (unsigned number = 0; number < writer_->threads(); ++number) {
    auto worker = Thread::start({"memory-image"}, [this] { work(); });
    if (worker) {
      workers_.push_back(std::move(worker).value());
    } else if (number == 0) {
      return worker.failure();
    } else {
      break;  // with fewer it takes longer
    }
  }
  return Unit{};
}

Result<> FrozenImage::wait() {
  finish();
  if (failure_) return *failure_;
  return Unit{};
}

void FrozenImage::finish() {
  workers_.clear();
  over_.signal();
  server_.reset();
  if (std::exchange(is_pass_, false)) {
    protection_.lift_all();
    writer_->end();
  }
}

void FrozenImage::work() {
  const auto worker = ImageWriter::make_worker();
  SpanCopy own;
  while (auto task = next_task()) {
    if (job_->is_cancelled) return fail({ECANCELED, "memory image"});
    if (!task->aside) {
      if (auto copied = copy_and_lift(own, task->span); !copied) return fail(copied.failure());
    }
    auto stored = writer_->store(*worker, task->aside ? *task->aside : own, *job_);
    if (!stored) return fail(stored.failure());
    done(std::move(task->aside));
  }
}

// Nothing when it is over.
std::optional<FrozenImage::Task> FrozenImage::next_task() {
  std::unique_lock lock(mutex_);
  work_.wait(lock, [&] {
    while (next_ < is_taken_.size() && is_taken_[next_]) ++next_;
    return is_over() || !aside_.empty() || next_ < is_taken_.size();
  });
  if (is_over()) return {};
  if (aside_.empty()) {
    is_taken_[next_] = true;
    return Task{next_, nullptr};
  }
  auto aside = std::move(aside_.back());
  aside_.pop_back();
  return Task{aside->span, std::move(aside)};
}

void FrozenImage::done(Copy aside) {
  {
    std::lock_guard lock(mutex_);
    --left_;
    if (aside) spare_.push_back(std::move(aside));
    if (left_ != 0) return room_.notify_one();
  }
  work_.notify_all();
  room_.notify_all();
}

void FrozenImage::serve() {
  while (!over_.is_pending()) {
    pollfd ready[] = {{protection_.fd(), POLLIN, 0}, {over_.get(), POLLIN, 0}};
    poll(ready, 2, -1);
    while (const auto page = protection_.awaited()) copy_aside(*page / kSpanPages);
  }
}

void FrozenImage::copy_aside(uint64_t span) {
  Copy copy;
  {
    std::unique_lock lock(mutex_);
    room_.wait(lock, [&] { return is_over() || is_taken_[span] || !spare_.empty() || copies_ < kMostAside; });
    // Whoever took it wakes who waits for it.
    if (is_over() || is_taken_[span]) return;
    is_taken_[span] = true;
    if (spare_.empty()) {
      copy = std::make_unique<SpanCopy>();
      ++copies_;
    } else {
      copy = std::move(spare_.back());
      spare_.pop_back();
    }
  }
  if (auto copied = copy_and_lift(*copy, span); !copied) return fail(copied.failure());
  {
    std::lock_guard lock(mutex_);
    aside_.push_back(std::move(copy));
  }
  work_.notify_one();
}

Result<> FrozenImage::copy_and_lift(SpanCopy& copy, uint64_t span) const {
  const auto held = protection_.held(span);
  if (!held) return held.failure();
  // The rest was not there at the instant, or zero.
  writer_->copy(copy, span, asked_.span(span), ~held.value());
  const auto first = span * kSpanPages;
  return protection_.lift(first, std::min<uint64_t>(kSpanPages, asked_.pages() - first));
}

// Everybody may write at once, whatever the other threads are still at.
void FrozenImage::fail(Failure failure) {
  {
    std::lock_guard lock(mutex_);
    if (!failure_) failure_ = failure;
  }
  protection_.lift_all();
  work_.notify_all();
  room_.notify_all();
}

}  // namespace tsvmm
