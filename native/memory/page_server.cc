#include "memory/page_server.h"

#include <poll.h>

#include <algorithm>
#include <cstring>

namespace tsvmm {

namespace {
constexpr size_t kMaximumRecorded = 1 << 20;
constexpr unsigned kMaximumThreads = 16;
}  // namespace

PageServer::PageServer(PageServerOptions options, std::unique_ptr<LazyMemory> memory, EventFd kick)
    : options_(std::move(options)),
      memory_(std::move(memory)),
      kick_(std::move(kick)),
      failure_(
          [this](const std::string& reason) {
            options_.on_failure(reason);
            // So that somebody looks at the clock.
            kick_.signal();
          },
          options_.grace),
      touched_(memory_->space().pages()),
      prefetch_(*memory_, *options_.source),
      fill_(*memory_, *options_.source) {}

Result<std::unique_ptr<PageServer>> PageServer::start(PageServerOptions options) {
  auto kick = EventFd::create();
  if (!kick) return kick.failure();
  auto memory = LazyMemory::create(options.memory);
  if (!memory) return memory.failure();
  std::unique_ptr<PageServer> server(
      new PageServer(std::move(options), std::move(memory).value(), std::move(kick).value()));
  if (auto started = server->start_threads(); !started) return started.failure();
  return server;
}

Result<> PageServer::start_threads() {
  const auto count = std::clamp(options_.threads, 1u, kMaximumThreads);
  for (unsigned index = 0; index < count; ++index) {
    ++running_;
    auto thread = Thread::start({"page-server"}, [this] { serve(); });
    if (!thread) {
      --running_;
      return thread.failure();
    }
    threads_.push_back(std::move(thread).value());
  }
  if (options_.prefetch.empty()) return Unit{};
  return prefetch_.start(options_.prefetch);
}

PageServer::~PageServer() {
  memory_->release();
  fill_.cancel();
  fill_.join();
  prefetch_.cancel_and_join();
  quit();
  threads_.clear();
  memory_->close();
}

// Only once the memory is released.
void PageServer::quit() {
  is_quitting_ = true;
  kick_.signal();
}

void PageServer::serve() {
  BlockReader reader(memory_->space(), *options_.source);
  while (!is_quitting_) {
    pollfd ready[] = {{memory_->descriptor(), POLLIN, 0}, {kick_.get(), POLLIN, 0}};
    const bool is_released = memory_->is_released();
    poll(ready, 2, is_released ? -1 : failure_.remaining_ms());
    if (ready[1].revents != 0) kick_.drain();
    if (!is_released && failure_.is_overdue()) memory_->release();
    while (const auto fault = memory_->take()) serve(reader, *fault);
  }
  kick_.signal();
  // Events are read to the last, since whoever removes memory waits for that.
  if (--running_ == 0) memory_->close();
}

void PageServer::serve(BlockReader& reader, const PageFault& fault) {
  ++faults_;
  const auto* segment = memory_->space().with_page(fault.page);
  if (memory_->is_settled(fault.page, fault.page + segment->unit)) {
    if (const auto answered = memory_->answer(fault, PageKind::kZero, {}); !answered) fail(fault, answered.failure());
    return;
  }
  if (!note_touch(fault.page)) return give_up(fault);
  const auto run = reader.read(fault.page);
  if (!run) return fail(fault, run.failure());
  const auto& [first, bytes, kinds] = run.value();
  const auto index = (fault.page - first) / segment->unit;
  const auto page_bytes = segment->unit * kImagePageSize;
  // First what somebody waits for, then its neighbours.
  const auto answered = memory_->answer(fault, kinds[index], bytes.subspan(index * page_bytes, page_bytes));
  if (!answered) return fail(fault, answered.failure());
  // Zeroes take memory where the memory is a file's.
  const auto zeroes = segment->is_anonymous ? LazyMemory::Zeroes::kProvide : LazyMemory::Zeroes::kSettle;
  const auto around = memory_->settle(run.value(), zeroes, true);
  served_ += segment->unit + (around ? around.value() : 0);
}

void PageServer::fail(const PageFault& fault, const Failure& failure) {
  {
    std::lock_guard lock(mutex_);
    bad_.insert(fault.page);
  }
  failure_.report(describe_page_failure(fault.page, failure));
  give_up(fault);
}

void PageServer::give_up(const PageFault& fault) {
  if (fault.thread != options_.owner_thread) return;
  // Out of memory even for that, only abandon() helps.
  if (!memory_->answer(fault, PageKind::kZero, {})) memory_->release();
}

bool PageServer::note_touch(uint64_t page) {
  std::lock_guard lock(mutex_);
  if (!touched_[page] && recorded_.size() < kMaximumRecorded) recorded_.push_back(static_cast<uint32_t>(page));
  touched_[page] = true;
  return !bad_.contains(page);
}

Result<> PageServer::fill(uint64_t bytes_per_second, std::function<void(bool)> on_end) {
  return fill_.start(bytes_per_second, [this, on_end = std::move(on_end)](const FillEnd& end) {
    if (end.failure) failure_.report(*end.failure);
    if (end.is_complete) {
      memory_->release();
      quit();
    }
    on_end(end.is_complete);
  });
}

void PageServer::abandon() { memory_->release(); }

std::vector<uint32_t> PageServer::recorded() const {
  std::lock_guard lock(mutex_);
  return recorded_;
}

PageServerCounters PageServer::counters() const {
  return {faults_, served_, prefetch_.pages(), fill_.pages(), memory_->unsettled()};
}

}  // namespace tsvmm
