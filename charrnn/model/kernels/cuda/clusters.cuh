// What all time loops in clusters of thread blocks share (compute capability 9.0). A file that uses
// it follows it in the compiler's input. Compiled at run time for one size: -DH=512 -DS=16.
//
// A cluster of H / 32 blocks carries S streams through all time steps, and clusters never meet. Each
// block owns 32 units, and after every step writes their outputs straight into the shared memory of
// all other blocks. Gates lie side by side: index 4 u + p for unit u and gate p of i, f, g, o.

typedef unsigned short u16;
typedef unsigned int u32;

#define THREADS 256
#define UNITS 32              // of a block
#define BLOCKS (H / UNITS)    // of a cluster
#define NT (S / 8)            // a product's tiles of 8 streams
#define KSTEPS (H / 32)       // products of a warp one after the other: half of H, 16 at a time
#define ROW (H + 8)           // a stream's outputs in shared memory; 8 more keep banks apart
#define FINISHED ((NT + 1) / 2)  // forward: tiles of 8 streams that a warp finishes

#ifdef BF16
#define KIND "bf16"
#else
#define KIND "f16"
#endif

static __device__ __forceinline__ u32 pack(float low, float high) {
  u32 both;
  asm("cvt.rn." KIND "x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
  return both;
}

static __device__ __forceinline__ float2 unpack(u32 both) {
  float2 out;
#ifdef BF16
  out.x = __uint_as_float(both << 16);
  out.y = __uint_as_float(both & 0xffff0000u);
#else
  asm("{.reg .b16 l, h;\n mov.b32 {l, h}, %2;\n cvt.f32.f16 %0, l;\n cvt.f32.f16 %1, h;}"
      : "=f"(out.x), "=f"(out.y) : "r"(both));
#endif
  return out;
}

static __device__ __forceinline__ u32 shared_address(const void* p) {
  return (u32)__cvta_generic_to_shared(p);
}

// The address, in block `rank` of this cluster, of what has `address` here.
static __device__ __forceinline__ u32 in_block(u32 address, u32 rank) {
  u32 there;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
  return there;
}

// Writes 16 bytes into the shared memory of another block, and counts them at its barrier. Unlike an
// ordinary store, nobody has to wait until all stores before it are done.
static __device__ __forceinline__ void send(u32 there, uint4 v, u32 barrier) {
  asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 "
               "[%0], {%1, %2, %3, %4}, [%5];"
               :: "r"(there), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w), "r"(barrier) : "memory");
}

// Lets the next phase of a barrier of this block end once so many bytes have come.
static __device__ __forceinline__ void expect(u32 barrier, u32 bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
               :: "r"(barrier), "r"(bytes) : "memory");
}

// Waits for the end of a barrier's phase: 0 for its first, third ... phase, 1 for the others.
static __device__ __forceinline__ void await(u32 barrier, u32 phase) {
  u32 done = 0;
#ifdef BOUNDED
  for (int i = 0; !done; i++) {
    if (i > 1000000) __trap();
#else
  while (!done) {
#endif
    asm volatile("{.reg .pred p;\n"
                 "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2;\n"
                 "selp.u32 %0, 1, 0, p;}"
                 : "=r"(done) : "r"(barrier), "r"(phase) : "memory");
  }
}

// All blocks of the cluster meet.
static __device__ __forceinline__ void meet() {
  asm volatile("barrier.cluster.arrive.release.aligned;\n"
               "barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// Two barriers, for what comes in even and in odd steps; both expect `bytes`.
static __device__ __forceinline__ void start(u32 barriers, u32 bytes) {
  if (threadIdx.x == 0) {
    for (int i = 0; i < 2; i++)
      asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" :: "r"(barriers + 8 * i) : "memory");
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    for (int i = 0; i < 2; i++) expect(barriers + 8 * i, bytes);
  }
  __syncthreads();
  meet();
}

// Four 8 x 8 matrices whose rows of 16 bytes the lanes' addresses name.
static __device__ __forceinline__ uint4 load_matrices(u32 address) {
  uint4 m;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(m.x), "=r"(m.y), "=r"(m.z), "=r"(m.w) : "r"(address) : "memory");
  return m;
}

static __device__ __forceinline__ u32 transposed(u32 matrix) {
  u32 out;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(out) : "r"(matrix));
  return out;
}

// The first of the streams of this block's cluster. The last cluster may share some with the one
// before it; both compute the same.
static __device__ __forceinline__ int first_stream(int B) {
  return min((int)(blockIdx.x / BLOCKS) * S, B - S);
}

static __device__ __forceinline__ void multiply(float* sum, const u32* a, u32 b0, u32 b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32." KIND "." KIND ".f32 "
               "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
