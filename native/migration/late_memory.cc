#include "migration/late_memory.h"

#include <poll.h>

#include <algorithm>
#include <utility>

namespace tsvmm {

namespace {
// Who touches a page soon touches its neighbours: 64 KiB.
constexpr uint64_t kBlockPages = 16;
// Faults that are kept to be asked again over another connection; those that were answered are dropped before.
constexpr size_t kMostWaiting = 4096;
}  // namespace

void LateMemory::Completion::note(LazyMemory& memory) {
  if (memory.unsettled() != 0) return;
  std::lock_guard lock(mutex_);
  if (!on_complete_) return;
  memory.release();
  std::exchange(on_complete_, {})();
}

void LateMemory::Completion::forget() {
  std::lock_guard lock(mutex_);
  on_complete_ = {};
}

LateMemory::LateMemory(Options options, std::shared_ptr<LazyMemory> memory, EventFd kick)
    : options_(std::move(options)),
      memory_(std::move(memory)),
      completion_(std::make_shared<Completion>(options_.on_complete)),
      kick_(std::move(kick)),
      asked_(memory_->space().pages()) {}

Result<std::unique_ptr<LateMemory>> LateMemory::start(Options options) {
  auto kick = EventFd::create();
  if (!kick) return kick.failure();
  std::unique_ptr<LateMemory> late;
  auto* receiver = options.receiver;
  const auto watch = [&]() -> Result<MemoryReceiver::Late> {
    auto memory = LazyMemory::create(options.memory, options.missing);
    if (!memory) return memory.failure();
    late.reset(new LateMemory(std::move(options), std::move(memory).value(), std::move(kick).value()));
    auto thread = Thread::start({"late-memory"}, [&each = *late] { each.watch(); });
    if (!thread) return thread.failure();
    late->watcher_.emplace(std::move(thread).value());
    return late->reception();
  };
  if (receiver == nullptr) {
    if (auto watched = watch(); !watched) return watched.failure();
    return late;
  }
  if (auto turned = receiver->turn_late(watch); !turned) return turned.failure();
  // Where nothing was missing, nothing comes.
  late->completion_->note(*late->memory_);
  return late;
}

LateMemory::~LateMemory() {
  completion_->forget();
  memory_->release();
  is_quitting_ = true;
  {
    std::lock_guard lock(mutex_);
    for (const auto& each : {line_, new_line_}) {
      if (each) each->has_failed = true;
      if (each) each->stream.cut();
    }
  }
  kick_.signal();
  watcher_.reset();
  hang_up(line_);
  hang_up(new_line_);
  memory_->close();
}

MemoryReceiver::Late LateMemory::reception() const {
  return {.memory = memory_, .on_settled = [memory = memory_, completion = completion_] { completion->note(*memory); }};
}

Result<> LateMemory::ask_at(UniqueFd socket, std::chrono::milliseconds stall,
                            std::function<void(const Failure&)> on_failure) {
  // Nothing comes where nobody asks; but who is asked has to listen.
  auto stream = Stream::adopt(std::move(socket), std::chrono::milliseconds(0));
  if (!stream) return stream.failure();
  if (auto limited = stream.value().limit_writes(stall); !limited) return limited.failure();
  auto line = std::make_shared<Line>(std::move(stream).value(), memory_->space().pages(), stall);
  line->on_failure = std::move(on_failure);
  auto thread = Thread::start({"late-memory"}, [this, &each = *line] { receive(each); });
  if (!thread) return thread.failure();
  line->thread.emplace(std::move(thread).value());
  std::shared_ptr<Line> passed_over;
  {
    std::lock_guard lock(mutex_);
    passed_over = std::exchange(new_line_, std::move(line));
    // So that whoever waits for it takes the new one.
    if (line_) line_->has_failed = true;
    if (line_) line_->stream.cut();
  }
  kick_.signal();
  hang_up(passed_over);
  return Unit{};
}

void LateMemory::hang_up(const std::shared_ptr<Line>& line) {
  if (!line) return;
  line->has_failed = true;
  line->stream.cut();
  line->thread.reset();
}

void LateMemory::receive(Line& line) {
  for (;;) {
    if (const auto received = receive_one(line); !received) return fail(line, received.failure());
    completion_->note(*memory_);
  }
}

Result<> LateMemory::receive_one(Line& line) {
  const auto read = line.reader.read();
  if (!read) return read.failure();
  if (!read.value()) return Failure{ECONNRESET, "recv"};
  const auto& frame = *read.value();
  if (frame.kind != FrameKind::kPages || frame.pages.is_delta()) return Failure{EBADMSG, "an answer has no pages"};
  const auto pages = line.decoder.decode(frame.pages);
  if (!pages) return pages.failure();
  return line.settler.settle(*memory_, frame.number, frame.pages, pages.value());
}

void LateMemory::fail(Line& line, const Failure& failure) const {
  if (line.has_failed.exchange(true)) return;
  // The source is to notice, too.
  line.stream.cut();
  line.on_failure(failure);
  kick_.signal();
}

std::shared_ptr<LateMemory::Line> LateMemory::line() const {
  std::lock_guard lock(mutex_);
  return line_ && !line_->has_failed ? line_ : nullptr;
}

void LateMemory::watch() {
  while (!is_quitting_) {
    pollfd ready[] = {{memory_->descriptor(), POLLIN, 0}, {kick_.get(), POLLIN, 0}};
    poll(ready, 2, patience_ms());
    if (ready[1].revents != 0) {
      kick_.drain();
      take_line();
    }
    while (const auto fault = memory_->take()) serve(*fault);
    look_after_waiting();
  }
}

int LateMemory::patience_ms() const {
  const auto line = this->line();
  if (waiting_.empty() || !line || line->stall.count() == 0) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(looked_at_ + line->stall - Clock::now());
  return static_cast<int>(std::max<int64_t>(left.count(), 0));
}

// Whoever waited when it was looked last waits for an answer that is overdue, unless memory comes by itself. The owner
// waits no longer for that: while he does nobody can give the machine up.
void LateMemory::look_after_waiting() {
  const auto line = this->line();
  const auto now = Clock::now();
  if (!line || line->stall.count() == 0 || now < looked_at_ + line->stall) return;
  looked_at_ = now;
  const auto settled = [&](const PageFault& each) { return memory_->is_settled(each.page, each.page + 1); };
  const auto overdue = std::span(waiting_).first(were_waiting_);
  const bool waits = !std::ranges::all_of(overdue, settled);
  const bool owner_waits = std::ranges::any_of(
      overdue, [&](const PageFault& each) { return each.thread == options_.owner_thread && !settled(each); });
  const auto unsettled = memory_->unsettled();
  const bool comes = std::exchange(was_unsettled_, unsettled) != unsettled;
  std::erase_if(waiting_, settled);
  were_waiting_ = waiting_.size();
  if (!waits || (comes && !owner_waits)) return;
  fail(*line, {ETIMEDOUT, "recv"});
  spare_owner();
}

// The line that is to take the place of the one that is there; those who wait ask there, too.
void LateMemory::take_line() {
  std::shared_ptr<Line> old;
  {
    std::lock_guard lock(mutex_);
    if (new_line_) old = std::exchange(line_, std::exchange(new_line_, nullptr));
  }
  hang_up(old);
  if (!line()) return spare_owner();
  asked_ = PageBitmap(asked_.pages());
  looked_at_ = Clock::now();
  were_waiting_ = 0;
  for (const auto& fault : std::exchange(waiting_, {})) ask(fault);
}

void LateMemory::serve(const PageFault& fault) {
  ++faults_;
  const auto* segment = memory_->space().with_page(fault.page);
  if (!memory_->is_settled(fault.page, fault.page + segment->unit)) return ask(fault);
  // It is zero. Where the host has no memory for that, only abandon() helps.
  static_cast<void>(memory_->answer(fault, PageKind::kZero, {}));
}

void LateMemory::ask(const PageFault& fault) {
  const auto* segment = memory_->space().with_page(fault.page);
  if (memory_->is_settled(fault.page, fault.page + segment->unit)) return;
  if (waiting_.size() >= kMostWaiting) {
    std::erase_if(waiting_, [&](const PageFault& each) { return memory_->is_settled(each.page, each.page + 1); });
    were_waiting_ = 0;
  }
  const auto is_same = [&](const PageFault& each) { return each.page == fault.page && each.thread == fault.thread; };
  if (std::ranges::none_of(waiting_, is_same)) waiting_.push_back(fault);
  const auto line = this->line();
  if (!line) return spare_owner();
  // The kernel tells of a fault again where its thread has been interrupted.
  if (asked_.test(fault.page)) return;
  const bool is_huge = segment->unit > 1;
  const auto first = is_huge ? fault.page : std::max(fault.page - fault.page % kBlockPages, segment->first_page);
  const auto end = is_huge ? fault.page + segment->unit : std::min(first + kBlockPages, segment->end_page());
  if (const auto requested = request(*line, first, end); !requested) {
    fail(*line, requested.failure());
    spare_owner();
  }
}

Result<> LateMemory::request(Line& line, uint64_t first, uint64_t end) {
  constexpr uint64_t kPairPages = 2 * kSpanPages;
  for (auto pair = first / kPairPages; pair * kPairPages < end; ++pair) {
    PairMask wanted{};
    for (auto page = std::max(first, pair * kPairPages); page < std::min(end, (pair + 1) * kPairPages); ++page) {
      if (memory_->is_settled(page, page + 1)) continue;
      set(wanted[page / kSpanPages % 2], static_cast<unsigned>(page % kSpanPages));
      asked_.set(page);
    }
    if (wanted == PairMask{}) continue;
    if (auto written = line.writer.write_request(pair, wanted); !written) return written;
  }
  return Unit{};
}

// While nobody can be asked.
void LateMemory::spare_owner() {
  for (const auto& fault : waiting_) {
    if (fault.thread == options_.owner_thread) static_cast<void>(memory_->answer(fault, PageKind::kZero, {}));
  }
  std::erase_if(waiting_, [&](const PageFault& each) { return each.thread == options_.owner_thread; });
  were_waiting_ = 0;
}

}  // namespace tsvmm
