#include "migration/sent_pages.h"

namespace tsvmm {

std::byte* SentPages::find(uint64_t span, unsigned page) {
  const auto found = entries_.find(span);
  return found == entries_.end() ? nullptr : found->second.pages[page].get();
}

std::byte* SentPages::place(uint64_t span, unsigned page) {
  auto found = entries_.find(span);
  if (found == entries_.end()) {
    if (!make_room(span)) return nullptr;
    found = entries_.try_emplace(span).first;
    found->second.age = by_age_.insert(by_age_.end(), span);
  }
  auto& entry = found->second;
  if (entry.pass != pass_) by_age_.splice(by_age_.end(), by_age_, entry.age);
  entry.pass = pass_;
  auto& slot = entry.pages[page];
  if (!slot) {
    if (!make_room(span)) return nullptr;
    slot = std::make_unique_for_overwrite<std::byte[]>(kPageBytes);
    ++entry.count;
    ++held_;
  }
  return slot.get();
}

bool SentPages::make_room(uint64_t span) {
  while (held_ >= capacity_) {
    if (by_age_.empty() || by_age_.front() == span) return false;
    const auto oldest = entries_.find(by_age_.front());
    if (oldest->second.pass + 1 >= pass_) return false;
    held_ -= oldest->second.count;
    by_age_.pop_front();
    entries_.erase(oldest);
  }
  return true;
}

void SentPages::forget(uint64_t span, unsigned page) {
  const auto found = entries_.find(span);
  if (found == entries_.end() || !found->second.pages[page]) return;
  found->second.pages[page].reset();
  --found->second.count;
  --held_;
}

void SentPages::clear() {
  entries_.clear();
  by_age_.clear();
  held_ = 0;
}

}  // namespace tsvmm
