// A processor in place of a GPU's cluster of thread blocks: the time loops' own source runs on it.
//
// Every thread is a coroutine. Threads of a warp meet at each instruction of the warp, and what is
// sent to another block arrives later, in random order. The functions here replace those of
// clusters.cuh that are single instructions of the GPU, as NVIDIA's PTX manual describes them.

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

using std::min;
typedef unsigned short u16;
typedef unsigned int u32;
struct float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) uint2 { u32 x, y; };
struct alignas(16) uint4 { u32 x, y, z, w; };
static float2 make_float2(float x, float y) { return {x, y}; }
static float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static uint2 make_uint2(u32 x, u32 y) { return {x, y}; }
static uint4 make_uint4(u32 x, u32 y, u32 z, u32 w) { return {x, y, z, w}; }

#define __device__
#define __global__
#define __forceinline__ inline
#define __restrict__
#define __launch_bounds__(threads, blocks)
#define __expf expf
static float __fdividef(float a, float b) { return a / b; }

const int PER_BLOCK = 256;
const u32 MEMORY = 240 * 1024, BARRIERS = 0x40000, INSIDE = 0x7ffff;  // addresses within a block

static void fail(const char* what) {
  fprintf(stderr, "emulated GPU: %s\n", what);
  exit(3);
}

struct Meeting { int count = 0, generation = 0; };
struct Phases { long bytes = 0, done = 0; int arrivals = 1; };  // of an mbarrier
struct Warp { Meeting meeting; u32 words[2][32][6]; };
struct Block {
  unsigned char* memory;
  unsigned long long barriers[2];
  Phases phases[2];
  Warp warps[PER_BLOCK / 32];
  Meeting named[16], all;
};
struct Thread { ucontext_t context; int number, block; bool done; };
struct Sent { u32 there, barrier; uint4 v; };
struct Index { int x; };

static std::vector<Block> blocks;
static std::vector<Thread> threads;
static std::vector<Sent> on_the_way;
static Thread* current;
static ucontext_t scheduler;
static Meeting cluster;
static int cluster_number;

static Block& mine() { return blocks[current->block]; }
static Index thread_index() { return {current->number}; }
static Index block_index() { return {cluster_number * (int)blocks.size() + current->block}; }
#define threadIdx (thread_index())
#define blockIdx (block_index())

static void pause() { swapcontext(&current->context, &scheduler); }

static void meet_at(Meeting& meeting, int parties) {
  const int generation = meeting.generation;
  if (++meeting.count == parties) {
    meeting.count = 0;
    meeting.generation++;
  }
  while (meeting.generation == generation) pause();
}

static void __syncthreads() { meet_at(mine().all, PER_BLOCK); }
static void meet_named(int name, int parties) { meet_at(mine().named[name], parties); }
static void meet() { meet_at(cluster, threads.size()); }

// What the 32 threads of the warp have in these words.
static u32 (*exchanged(const u32* words, int count))[6] {
  Warp& warp = mine().warps[current->number / 32];
  u32(*all)[6] = warp.words[warp.meeting.generation & 1];
  memcpy(all[current->number & 31], words, 4 * count);
  meet_at(warp.meeting, 32);
  return all;
}

static float from_half(u32 bits) {
  const u16 low = bits;
  _Float16 half;
  memcpy(&half, &low, 2);
  return half;
}

static u32 to_half(float value) {
  const _Float16 half = value;
  u16 bits;
  memcpy(&bits, &half, 2);
  return bits;
}

static u32 pack(float low, float high) { return to_half(low) | to_half(high) << 16; }
static float2 unpack(u32 both) { return {from_half(both), from_half(both >> 16)}; }

static u32 shared_address(const void* p) {
  const unsigned char* place = (const unsigned char*)p;
  if (place >= mine().memory && place < mine().memory + MEMORY) return place - mine().memory;
  return BARRIERS + (place - (unsigned char*)mine().barriers);
}

// The bits above those within a block are 0 for this block, or the other one's number and 1.
static u32 in_block(u32 address, u32 rank) { return (address & INSIDE) | (rank + 1) << 20; }
static Block& block_of(u32 address) { return address >> 20 ? blocks.at((address >> 20) - 1) : mine(); }

static Phases& phases_of(u32 barrier) {
  const u32 place = (barrier & INSIDE) - BARRIERS;
  if (place != 0 && place != 8) fail("no barrier is there");
  return block_of(barrier).phases[place / 8];
}

static void settle(Phases& phases) {
  if (phases.arrivals || phases.bytes) return;
  phases.done++;
  phases.arrivals = 1;
}

static void expect(u32 barrier, u32 bytes) {
  Phases& phases = phases_of(barrier);
  if (--phases.arrivals < 0) fail("a barrier expects more before its phase has ended");
  phases.bytes += bytes;
  settle(phases);
}

static void await(u32 barrier, u32 phase) {
  while ((phases_of(barrier).done & 1) == (long)phase) pause();
}

static void start(u32 barriers, u32 bytes) {
  if (current->number == 0)
    for (int i = 0; i < 2; i++) expect(barriers + 8 * i, bytes);
  __syncthreads();
  meet();
}

static void send(u32 there, uint4 v, u32 barrier) {
  if (there % 16 || (there & INSIDE) + 16 > MEMORY) fail("what is sent has no place");
  on_the_way.push_back({there, barrier, v});
}

static void deliver() {
  for (size_t left = on_the_way.empty() ? 0 : 1 + rand() % on_the_way.size(); left; left--) {
    std::swap(on_the_way[rand() % on_the_way.size()], on_the_way.back());
    const Sent sent = on_the_way.back();
    on_the_way.pop_back();
    memcpy(block_of(sent.there).memory + (sent.there & INSIDE), &sent.v, 16);
    phases_of(sent.barrier).bytes -= 16;
    settle(phases_of(sent.barrier));
  }
}

static uint4 load_matrices(u32 address) {
  if (address % 16 || address + 16 > MEMORY) fail("no row of a matrix is there");
  const auto rows = exchanged(&address, 1);
  const int lane = current->number & 31;
  u32 out[4];
  for (int m = 0; m < 4; m++)
    memcpy(&out[m], mine().memory + rows[m * 8 + lane / 4][0] + lane % 4 * 4, 4);
  return {out[0], out[1], out[2], out[3]};
}

static u32 transposed(u32 matrix) {
  const auto all = exchanged(&matrix, 1);
  const int lane = current->number & 31, row = lane / 4, column = lane % 4 * 2;
  const auto entry = [&](int r, int c) { return all[r * 4 + c / 2][0] >> c % 2 * 16 & 0xffff; };
  return entry(column, row) | entry(column + 1, row) << 16;
}

static u32 __shfl_sync(u32, u32 value, int lane) { return exchanged(&value, 1)[lane & 31][0]; }
static u32 __shfl_xor_sync(u32, u32 value, int other) {
  return exchanged(&value, 1)[(current->number & 31) ^ other][0];
}

// sum (16 x 8) += a (16 x 16) b (16 x 8): each thread has four numbers of the sum
static void multiply(float* sum, const u32* a, u32 b0, u32 b1) {
  const u32 words[6] = {a[0], a[1], a[2], a[3], b0, b1};
  const auto all = exchanged(words, 6);
  const int lane = current->number & 31;
  for (int i = 0; i < 4; i++) {
    const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
    double total = sum[i];
    for (int k = 0; k < 16; k++) {
      const int low = k % 8 / 2, shift = k % 2 * 16;
      const u32 left = all[row % 8 * 4 + low][row / 8 + k / 8 * 2] >> shift;
      const u32 right = all[column * 4 + low][4 + k / 8] >> shift;
      total += (double)from_half(left) * from_half(right);
    }
    sum[i] = total;
  }
}

static void (*kernel)();

static void run_thread() {
  kernel();
  current->done = true;
  pause();
}

// Runs `kernel` in so many clusters of `size` blocks, one after the other. Blocks take turns, and
// now and then one misses a turn.
static void launch(int clusters, int size) {
  const size_t stack = 32768;
  for (cluster_number = 0; cluster_number < clusters; cluster_number++) {
    blocks.assign(size, Block());
    threads.assign(size * PER_BLOCK, Thread());
    cluster = Meeting();
    std::vector<char> stacks(stack * threads.size());
    for (Block& block : blocks) {
      block.memory = (unsigned char*)aligned_alloc(128, MEMORY);
      memset(block.memory, 0xff, MEMORY);  // not a number
    }
    for (size_t i = 0; i < threads.size(); i++) {
      Thread& thread = threads[i];
      thread.number = i % PER_BLOCK;
      thread.block = i / PER_BLOCK;
      getcontext(&thread.context);
      thread.context.uc_stack.ss_sp = &stacks[i * stack];
      thread.context.uc_stack.ss_size = stack;
      thread.context.uc_link = &scheduler;
      makecontext(&thread.context, run_thread, 0);
    }
    bool busy = true;
    for (long turn = 0; busy; turn++) {
      if (turn > 1000000) fail("threads wait for ever");
      busy = false;
      for (int block = 0; block < size; block++) {
        const bool misses = rand() % 4 == 0;
        for (int i = 0; i < PER_BLOCK; i++) {
          Thread& thread = threads[block * PER_BLOCK + i];
          busy = busy || !thread.done;
          if (misses || thread.done) continue;
          current = &thread;
          swapcontext(&scheduler, &thread.context);
        }
      }
      deliver();
    }
    if (!on_the_way.empty()) fail("a block has ended before all that was sent to it arrived");
    for (Block& block : blocks) free(block.memory);
  }
}
