#include "migration/memory_sender.h"

#include <utility>

#include "migration/send_connection.h"

namespace tsvmm {

MemorySender::MemorySender(std::shared_ptr<SendShared> shared, std::vector<std::unique_ptr<SendConnection>> connections)
    : shared_(std::move(shared)), connections_(std::move(connections)) {}

Result<std::unique_ptr<MemorySender>> MemorySender::create(Options options) {
  auto shared = std::make_shared<SendShared>(ImageSpace(options.memory));
  if (shared->space.pages() == 0 || options.sockets.empty()) return Failure{EINVAL, "send memory"};
  shared->limit.set(options.bytes_per_second);
  std::vector<std::unique_ptr<SendConnection>> connections;
  for (auto& socket : options.sockets) {
    auto stream = Stream::adopt(std::move(socket), options.stall);
    if (!stream) return stream.failure();
    const auto delta_bytes = options.delta_bytes / options.sockets.size();
    connections.push_back(std::make_unique<SendConnection>(std::move(stream).value(), shared, delta_bytes));
  }
  std::unique_ptr<MemorySender> sender(new MemorySender(std::move(shared), std::move(connections)));
  if (auto started = sender->start_threads(); !started) return started.failure();
  return sender;
}

Result<> MemorySender::start_threads() {
  for (unsigned index = 0; index < connections_.size(); ++index) {
    auto thread = Thread::start({"send-memory"}, [this, index] { run(*connections_[index], index); });
    if (!thread) return thread.failure();
    threads_.push_back(std::move(thread).value());
  }
  return Unit{};
}

MemorySender::~MemorySender() {
  {
    std::lock_guard lock(mutex_);
    is_quitting_ = true;
    // A pass that nobody has begun with ends, too.
    if (!failure_) failure_ = Failure{ECANCELED, "send memory"};
    changed_.notify_all();
  }
  cut();
  threads_.clear();
}

void MemorySender::cut() {
  shared_->limit.end();
  for (const auto& connection : connections_) connection->cut();
  if (answering_) answering_->cut();
}

uint64_t MemorySender::bytes_sent() const {
  uint64_t bytes = 0;
  for (const auto& connection : connections_) bytes += connection->bytes_sent();
  if (answering_) bytes += answering_->bytes_sent();
  return bytes;
}

Result<> MemorySender::send(Pass pass, const PageBitmap& pages, std::function<void(Result<>)> on_end) {
  if (pages.pages() != this->pages()) return Failure{EINVAL, "send memory"};
  return begin(pass, std::make_shared<RestPages>(pages), pages.count(), std::move(on_end));
}

Result<> MemorySender::send_rest(std::shared_ptr<RestPages> rest, std::function<void(Result<>)> on_end) {
  if (rest->pages() != pages()) return Failure{EINVAL, "send memory"};
  const auto total = rest->count();
  return begin(Pass::kRest, std::move(rest), total, std::move(on_end));
}

Result<> MemorySender::answer(UniqueFd socket, std::chrono::milliseconds stall, std::shared_ptr<RestPages> rest) {
  if (answering_ || rest->pages() != pages()) return Failure{EINVAL, "answer for memory"};
  auto stream = Stream::adopt(std::move(socket), stall);
  if (!stream) return stream.failure();
  auto connection = std::make_unique<SendConnection>(std::move(stream).value(), shared_, 0);
  {
    // A pass that fails cuts it, too.
    std::lock_guard lock(mutex_);
    answering_ = std::move(connection);
    if (failure_) answering_->cut();
  }
  auto thread = Thread::start({"answer-memory"}, [&each = *answering_, rest = std::move(rest)] { each.answer(*rest); });
  if (!thread) return thread.failure();
  threads_.push_back(std::move(thread).value());
  return Unit{};
}

Result<> MemorySender::begin(Pass pass, std::shared_ptr<RestPages> pages, uint64_t total,
                             std::function<void(Result<>)> on_end) {
  std::lock_guard lock(mutex_);
  if (busy_ != 0) return Failure{EBUSY, "send memory"};
  shared_->counters.pages_done = 0;
  shared_->counters.pages_total = total;
  pass_ = pass;
  pass_pages_ = std::move(pages);
  busy_ = connections_.size();
  on_end_ = std::move(on_end);
  ++pass_number_;
  changed_.notify_all();
  return Unit{};
}

// Pairs of spans belong to connections in turn: what is sent of a page twice arrives in that order.
void MemorySender::run(SendConnection& connection, unsigned index) {
  for (uint64_t seen = 0;;) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return is_quitting_ || pass_number_ != seen; });
    if (pass_number_ == seen) return;
    seen = pass_number_;
    const auto pages = pass_pages_;
    connection.begin(pass_);
    Result<> sent = failure_ ? Result<>(*failure_) : Unit{};
    lock.unlock();
    for (uint64_t pair = index; sent && pair < pages->pairs(); pair += connections_.size()) {
      sent = connection.send_pair(pair, pages->take(pair, kWholePair));
    }
    if (sent) sent = connection.end(seen);
    finish(sent);
  }
}

void MemorySender::finish(const Result<>& sent) {
  std::function<void(Result<>)> on_end;
  std::optional<Failure> failure;
  {
    std::lock_guard lock(mutex_);
    if (!sent && !failure_) {
      failure_ = sent.failure();
      cut();
    }
    if (--busy_ != 0) return;
    on_end = std::exchange(on_end_, {});
    pass_pages_.reset();
    failure = failure_;
  }
  on_end(failure ? Result<>(*failure) : Unit{});
}

}  // namespace tsvmm
