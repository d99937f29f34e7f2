#include "napi/exchange_binding.h"

#include "napi/arguments.h"
#include "sys/exchange.h"

namespace tsvmm {

namespace {

Napi::Value exchange_names_binding(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  const auto one = read_string(info[0], "one");
  if (!one) return env.Undefined();
  const auto other = read_string(info[1], "other");
  if (!other) return env.Undefined();
  if (const auto exchanged = exchange_names(*one, *other); !exchanged) throw_failure(env, exchanged.failure());
  return env.Undefined();
}

}  // namespace

void define_exchange(Napi::Env env, Napi::Object exports) {
  exports.Set("exchangeNames", Napi::Function::New<exchange_names_binding>(env, "exchangeNames"));
}

}  // namespace tsvmm
