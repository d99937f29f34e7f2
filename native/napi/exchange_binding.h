#pragma once

#include <napi.h>

namespace tsvmm {

// JavaScript thread.
void define_exchange(Napi::Env env, Napi::Object exports);

}  // namespace tsvmm
