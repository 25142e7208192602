// The ns-3 side of ns3.py, compiled when it is first used: one workload over one point-to-point link.
// Times are seconds since the first frame may be sent; -1 stands for what never happened.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

namespace splitimpera {

struct Setup {
    std::string congestion;  // TypeId of the congestion control; empty for UDP
    uint64_t rate_bps = 0, back_rate_bps = 0;
    double delay_s = 0;
    double lost_after_arrived = 0, lost_after_lost = 0, back_loss = 0;  // equal where losses are independent
    uint32_t mtu_bytes = 1500, payload_bytes = 0, app_header_bytes = 0;
    uint32_t seed = 1, run = 1;
    double horizon_s = 0;
    std::vector<double> ready_s, patience_s;
    std::vector<int64_t> size_bytes;
};

struct Outcome {
    std::vector<double> sent_s, first_s, complete_s;
    std::vector<int64_t> packets, lost, again, wire_bytes;
    std::vector<int64_t> missing_frame, missing_packet;  // UDP: lost, or later than the receiver waits
};

// Loses packets with a probability that depends on the fate of the one before it (Gilbert-Elliott without noise).
class TwoStateLoss : public ns3::ErrorModel {
  public:
    TwoStateLoss(double after_arrived, double after_lost, int64_t stream)
        : after_arrived_(after_arrived), after_lost_(after_lost), draw_(ns3::CreateObject<ns3::UniformRandomVariable>()) {
        draw_->SetStream(stream);
        const double visits = after_arrived_ + 1 - after_lost_;
        bad_ = visits > 0 && draw_->GetValue(0, 1) < after_arrived_ / visits;
    }

    bool Next() {
        bad_ = draw_->GetValue(0, 1) < (bad_ ? after_lost_ : after_arrived_);
        return bad_;
    }

    std::function<bool()> decide;

  private:
    bool DoCorrupt(ns3::Ptr<ns3::Packet>) override { return decide(); }
    void DoReset() override {}

    double after_arrived_, after_lost_;
    ns3::Ptr<ns3::UniformRandomVariable> draw_;
    bool bad_ = false;
};

class Simulation {
  public:
    explicit Simulation(const Setup& setup) : setup_(setup), count_(setup.size_bytes.size()) {}

    Outcome Run() {
        out_.sent_s.assign(count_, -1);
        out_.first_s.assign(count_, -1);
        out_.complete_s.assign(count_, -1);
        for (auto* column : {&out_.packets, &out_.lost, &out_.again, &out_.wire_bytes}) column->assign(count_, 0);
        if (!count_) return out_;
        int64_t end = 0;
        for (int64_t size : setup_.size_bytes) ends_.push_back(end += size + (Tcp() ? setup_.app_header_bytes : 0));

        // as fine as ns-3 can count, lest the times of short packets on fast links be rounded visibly
        ns3::Time::SetResolution(ns3::Time::PS);
        ns3::RngSeedManager::SetSeed(setup_.seed);
        ns3::RngSeedManager::SetRun(setup_.run);
        Defaults();
        Build();
        ns3::Simulator::Run();
        if (!begun_) throw std::runtime_error("the connection was not established");
        if (Tcp() && done_ < count_) throw std::runtime_error("not every frame was delivered within the time limit");
        if (!Tcp() && read_ != arrived_) throw std::runtime_error("datagrams were lost outside the link");
        return out_;
    }

  private:
    struct OnLink {
        int64_t begin, end;  // TCP: bytes of the stream; UDP: frame, datagram
    };

    bool Tcp() const { return !setup_.congestion.empty(); }
    double Now() const { return (ns3::Simulator::Now() - origin_).GetTimeStep() * 1e-12; }
    static ns3::Time At(double seconds) { return ns3::PicoSeconds(std::llround(seconds * 1e12)); }

    // What Linux does by default, and buffers that never limit; the object factories read these.
    void Defaults() {
        using ns3::Config::SetDefault;
        const uint32_t unlimited = 1u << 28;
        SetDefault("ns3::UdpSocket::RcvBufSize", ns3::UintegerValue(unlimited));
        if (!Tcp()) return;
        SetDefault("ns3::TcpL4Protocol::SocketType", ns3::TypeIdValue(ns3::TypeId::LookupByName(setup_.congestion)));
        SetDefault("ns3::TcpSocket::SegmentSize", ns3::UintegerValue(setup_.payload_bytes));
        SetDefault("ns3::TcpSocket::SndBufSize", ns3::UintegerValue(unlimited));
        SetDefault("ns3::TcpSocket::RcvBufSize", ns3::UintegerValue(unlimited));
        SetDefault("ns3::TcpSocket::InitialCwnd", ns3::UintegerValue(10));
        SetDefault("ns3::TcpSocket::DelAckCount", ns3::UintegerValue(2));
        SetDefault("ns3::TcpSocket::DelAckTimeout", ns3::TimeValue(ns3::MilliSeconds(40)));
        SetDefault("ns3::TcpSocket::TcpNoDelay", ns3::BooleanValue(true));
        // a frame waits for as long as it takes; six attempts would close the connection
        SetDefault("ns3::TcpSocket::DataRetries", ns3::UintegerValue(1u << 30));
        SetDefault("ns3::TcpSocketBase::MinRto", ns3::TimeValue(ns3::MilliSeconds(200)));
        SetDefault("ns3::TcpSocketBase::ClockGranularity", ns3::TimeValue(ns3::MilliSeconds(1)));
        SetDefault("ns3::TcpSocketBase::Sack", ns3::BooleanValue(true));
    }

    void Build() {
        ns3::NodeContainer nodes(2);
        ns3::PointToPointHelper wire;
        wire.SetChannelAttribute("Delay", ns3::TimeValue(At(setup_.delay_s)));
        wire.SetQueue("ns3::DropTailQueue<Packet>", "MaxSize", ns3::StringValue("2000000000p"));
        ns3::NetDeviceContainer devices = wire.Install(nodes);
        auto sender = ns3::DynamicCast<ns3::PointToPointNetDevice>(devices.Get(0));
        auto receiver = ns3::DynamicCast<ns3::PointToPointNetDevice>(devices.Get(1));
        sender->SetDataRate(ns3::DataRate(setup_.rate_bps));
        receiver->SetDataRate(ns3::DataRate(setup_.back_rate_bps));
        sender->SetMtu(setup_.mtu_bytes);
        receiver->SetMtu(setup_.mtu_bytes);

        ns3::InternetStackHelper stack;
        stack.SetIpv6StackInstall(false);  // its router solicitations would be on the link too
        stack.Install(nodes);
        ns3::Ipv4AddressHelper addresses("10.0.0.0", "255.255.255.252");
        auto interfaces = addresses.Assign(devices);
        ns3::TrafficControlHelper().Uninstall(devices);  // `Assign` put a queue with a limit in front of the device

        there_ = ns3::Create<TwoStateLoss>(setup_.lost_after_arrived, setup_.lost_after_lost, 1);
        there_->decide = [this] { return Arrives(); };
        receiver->SetReceiveErrorModel(there_);
        back_ = ns3::Create<TwoStateLoss>(setup_.back_loss, setup_.back_loss, 2);
        back_->decide = [this] { return begun_ && back_->Next(); };
        sender->SetReceiveErrorModel(back_);
        sender->TraceConnectWithoutContext("PhyTxBegin", ns3::MakeCallback(&Simulation::Leaves, this));

        auto type = Tcp() ? ns3::TcpSocketFactory::GetTypeId() : ns3::UdpSocketFactory::GetTypeId();
        listener_ = ns3::Socket::CreateSocket(nodes.Get(1), type);
        listener_->Bind(ns3::InetSocketAddress(ns3::Ipv4Address::GetAny(), 5000));
        socket_ = ns3::Socket::CreateSocket(nodes.Get(0), type);
        socket_->Bind();
        if (Tcp()) {
            listener_->Listen();
            listener_->SetAcceptCallback(ns3::MakeNullCallback<bool, ns3::Ptr<ns3::Socket>, const ns3::Address&>(),
                                         ns3::MakeCallback(&Simulation::Accepted, this));
            socket_->SetConnectCallback(ns3::MakeCallback(&Simulation::Connected, this),
                                        ns3::MakeNullCallback<void, ns3::Ptr<ns3::Socket>>());
            socket_->SetSendCallback(ns3::MakeCallback(&Simulation::Push, this));
        } else {
            listener_->SetRecvCallback(ns3::MakeCallback(&Simulation::Read, this));
        }
        socket_->Connect(ns3::InetSocketAddress(interfaces.GetAddress(1), 5000));
        if (!Tcp()) Begin();
    }

    void Accepted(ns3::Ptr<ns3::Socket> socket, const ns3::Address&) {
        socket->SetRecvCallback(ns3::MakeCallback(&Simulation::Read, this));
    }

    // The handshake is over and done with before the first frame, and nothing of it is lost.
    void Connected(ns3::Ptr<ns3::Socket>) {
        const double settled = 1 + 2 * setup_.delay_s + 8e3 / std::min(setup_.rate_bps, setup_.back_rate_bps);
        ns3::Simulator::Schedule(At(settled), &Simulation::Begin, this);
    }

    void Begin() {
        begun_ = true;
        origin_ = ns3::Simulator::Now();
        for (size_t frame = 0; frame < count_; ++frame)
            ns3::Simulator::Schedule(At(setup_.ready_s[frame]), &Simulation::Send, this, frame);
        if (Tcp()) ns3::Simulator::Stop(At(setup_.horizon_s));
    }

    void Send(size_t frame) {
        if (Tcp()) {
            unsent_ += ends_[frame] - (frame ? ends_[frame - 1] : 0);
            Push(socket_, 0);
            return;
        }
        int64_t rest = setup_.size_bytes[frame];
        for (int64_t datagram = 0; rest > 0; ++datagram) {
            const uint32_t bytes = std::min<int64_t>(rest, setup_.payload_bytes);
            waiting_.push_back({int64_t(frame), datagram});
            if (socket_->Send(ns3::Create<ns3::Packet>(bytes + setup_.app_header_bytes)) < 0)
                throw std::runtime_error("the socket refused a datagram");
            rest -= bytes;
        }
    }

    void Push(ns3::Ptr<ns3::Socket>, uint32_t) {
        while (unsent_ > 0) {
            const int64_t room = std::min<int64_t>({unsent_, socket_->GetTxAvailable(), 1 << 24});
            const int taken = room > 0 ? socket_->Send(ns3::Create<ns3::Packet>(room)) : 0;
            if (taken <= 0) return;
            unsent_ -= taken;
        }
    }

    // A packet's first bit goes onto the link. The link keeps the order, so that `Arrives` meets the same packets.
    void Leaves(ns3::Ptr<const ns3::Packet> packet) {
        OnLink item{0, 0};
        size_t frame = 0;
        if (Tcp()) {
            auto copy = packet->Copy();
            ns3::PppHeader ppp;
            ns3::Ipv4Header ip;
            ns3::TcpHeader tcp;
            copy->RemoveHeader(ppp);
            copy->RemoveHeader(ip);
            copy->RemoveHeader(tcp);
            const uint32_t number = tcp.GetSequenceNumber().GetValue();
            if (copy->GetSize()) {
                if (!highest_) first_number_ = number;
                // sequence numbers wrap around after 4 GiB, places in the stream do not
                item.begin = highest_ + int32_t(number - uint32_t(first_number_ + highest_));
                item.end = item.begin + copy->GetSize();
                frame = FrameAt(item.begin);
                if (item.begin < highest_) ++out_.again[frame];
                highest_ = std::max(highest_, item.end);
                for (size_t f = frame; f < count_ && BeginOf(f) < item.end; ++f) Mark(out_.sent_s[f]);
            }
        } else {
            item = waiting_.front();
            waiting_.pop_front();
            frame = item.begin;
            Mark(out_.sent_s[frame]);
        }
        on_link_.push_back(item);
        if (Tcp() && item.begin == item.end) return;
        ++out_.packets[frame];
        out_.wire_bytes[frame] += packet->GetSize();
    }

    // A packet's last bit is at the receiver, unless it is lost (true).
    bool Arrives() {
        const OnLink item = on_link_.front();
        on_link_.pop_front();
        if (Tcp() && item.begin == item.end) return false;
        const size_t frame = Tcp() ? FrameAt(item.begin) : size_t(item.begin);
        const bool lost = there_->Next();
        out_.lost[frame] += lost;
        if (Tcp()) {
            for (size_t f = frame; !lost && f < count_ && BeginOf(f) < item.end; ++f) Mark(out_.first_s[f]);
            return lost;
        }
        if (!lost) {
            ++arrived_;
            Mark(out_.first_s[frame]);
            out_.complete_s[frame] = Now();
        }
        if (lost || Now() > out_.first_s[frame] + setup_.patience_s[frame]) {
            out_.missing_frame.push_back(frame);
            out_.missing_packet.push_back(item.end);
        }
        return lost;
    }

    void Read(ns3::Ptr<ns3::Socket> socket) {
        while (auto packet = socket->Recv()) {
            if (!packet->GetSize()) break;
            read_ += Tcp() ? packet->GetSize() : 1;
        }
        while (Tcp() && done_ < count_ && read_ >= ends_[done_]) out_.complete_s[done_++] = Now();
        if (done_ == count_) ns3::Simulator::Stop();
    }

    int64_t BeginOf(size_t frame) const { return frame ? ends_[frame - 1] : 0; }
    size_t FrameAt(int64_t byte) const { return std::upper_bound(ends_.begin(), ends_.end(), byte) - ends_.begin(); }
    void Mark(double& time) const {
        if (time < 0) time = Now();
    }

    const Setup& setup_;
    const size_t count_;
    Outcome out_;
    std::vector<int64_t> ends_;
    std::deque<OnLink> waiting_, on_link_;
    ns3::Ptr<TwoStateLoss> there_, back_;
    ns3::Ptr<ns3::Socket> listener_, socket_;
    ns3::Time origin_;
    bool begun_ = false;
    int64_t unsent_ = 0, highest_ = 0, read_ = 0, arrived_ = 0;
    uint32_t first_number_ = 0;
    size_t done_ = 0;
};

Outcome simulate(const Setup& setup) { return Simulation(setup).Run(); }

}  // namespace splitimpera
