defmodule MQTT.Server do
  @moduledoc """
  A behaviour for the server side of MQTT: one process per connected client, which calls back for
  everything the client does.

      defmodule Echo do
        use MQTT.Server

        @impl true
        def init(_args, %{client_id: client_id}), do: {:ok, client_id}

        @impl true
        def handle_publish(topic, message, _opts, client_id) do
          {:ok, client_id, {:publish, topic, message}}
        end
      end

  `{MQTT.Listener, port: 1883, handler: {Echo, []}}` in a supervision tree serves it. A socket that
  was accepted otherwise becomes a connection with `enter_loop/3`.

  `use MQTT.Server` gives every callback but `c:init/2` a default: a message is ignored, a
  subscription fails, a call is answered with `{:error, {:bad_call, call}}`.

  ## The life of a connection

    1. The client's CONNECT calls `c:init/2`, which accepts or rejects it. A client that sends
       something else, or too late, is disconnected without any callback. Calls, casts and messages
       that come before are handled behind it.
    2. Each message calls `c:handle_publish/4`, each filter of a SUBSCRIBE `c:handle_subscribe/3` and
       each of an UNSUBSCRIBE `c:handle_unsubscribe/2`; the acknowledgements follow from what these
       return. PINGREQ is answered without a callback.
    3. `GenServer.call/2`, `GenServer.cast/2` and messages to the process call `c:handle_call/3`,
       `c:handle_cast/2` and `c:handle_info/2`, with which other processes make it publish.
    4. `c:terminate/2` is called when the connection has ended, with the reason:

  | Reason | What happened |
  | --- | --- |
  | `:normal` | The client sent DISCONNECT, after which its will is not published, or `stop/1` was called. |
  | `{:shutdown, :closed}` | The client closed the connection, or it broke. |
  | `{:shutdown, :keep_alive_timeout}` | Nothing came for one and a half times the Keep Alive [MQTT-3.1.2-24], or for `:idle_timeout`. |
  | `{:shutdown, :send_timeout}` | The client read nothing for `:send_timeout` milliseconds. |
  | `{:shutdown, :send_queue_full}` | It read too slowly, with `slow_peer: :close`. |
  | `{:shutdown, {:protocol_error, which}}` | The client broke the protocol; `which` is an atom such as `:invalid_utf8`. |
  | `{:shutdown, {:socket_error, reason}}` | The operating system reported an error. |
  | `{:shutdown, :nif_panicked}` | A defect of this library, which has cost this one connection. |
  | `:shutdown` | The supervisor ended it; the process has to trap exits, as those of a `MQTT.Listener` do. |
  | any other | A callback stopped with it, or raised. |

  A process that ends before its CONNECT was accepted exits with one of these reasons, or with
  `{:shutdown, :connect_timeout}`, and calls nothing.

  Nothing that a client does causes a report of the logger; a callback that raises causes one, as in
  a `GenServer`.

  ## Actions

  A callback may return one action or a list of them, which are carried out in order. What is
  published is written when the callbacks for all that has come have returned, or when a reply
  follows.

    * `{:publish, topic, message}` and `{:publish, topic, message, %{qos: 0, retain: false}}` send a
      message to the client. Topic and message are iodata. QoS 1 and 2 are not supported yet.
    * `{:reply, from, reply}` answers a call.

  An action that cannot be carried out (a topic with a wildcard, a message over 256 MiB) ends the
  process as an exception in the callback would, behind the actions before it.

  ## Slow clients

  What the operating system does not take of what is published waits in a queue. With
  `slow_peer: :block`, the default, nothing is read from the client meanwhile. A message of QoS 0 that
  comes while the queue is full is dropped; what one callback publishes at once is not cut. `info/1`
  and `MQTT.Listener.info/1` count the dropped. Over an `:ssl` socket there is no queue: the process
  waits in `:ssl.send/2`, for `:send_timeout` at most.

  ## Options

  `enter_loop/4` and `MQTT.Listener` take these:

  #{MQTT.Options.docs(MQTT.Server.Options.schema())}
  """

  alias MQTT.Server.{Connection, Options}

  @typedoc """
  What the client's CONNECT said, and how it came.

  `:username`, `:password` and `:last_will` are there if the client sent them.
  `:protocol_version` is 3 for MQTT 3.1 and 4 for 3.1.1; `:keep_alive` is in seconds. `:peer` and
  `:local` are addresses as of `:inet.peername/1`, or `nil` if the client is gone already.
  `:peer_certificate` is the client's certificate (DER), if it has shown one.
  """
  @type init_parameters :: %{
          required(:protocol) => String.t(),
          required(:protocol_version) => 3 | 4,
          required(:clean_session) => boolean,
          required(:keep_alive) => 0..65_535,
          required(:client_id) => String.t(),
          required(:transport) => :tcp | :ssl,
          required(:peer) => {:inet.ip_address(), :inet.port_number()} | nil,
          required(:local) => {:inet.ip_address(), :inet.port_number()} | nil,
          optional(:peer_certificate) => binary,
          optional(:username) => String.t(),
          optional(:password) => binary,
          optional(:last_will) => %{
            topic: iodata,
            message: iodata,
            qos: :mqtt_packet.qos(),
            retain: boolean
          }
        }

  @typedoc """
  Why a client is rejected, which its CONNACK tells it as the return code 1 to 5, or as the number
  given. Any other reason closes the connection without a CONNACK [MQTT-3.2.2-6], and the process
  exits with it.
  """
  @type init_stop_reason ::
          :unacceptable_protocol
          | :identifier_rejected
          | :server_unavailable
          | :bad_username_or_password
          | :not_authorized
          | 6..255

  @typedoc "What a callback may have done, see the module's documentation."
  @type action ::
          {:publish, topic :: iodata, message :: iodata}
          | {:publish, topic :: iodata, message :: iodata,
             %{optional(:qos) => :mqtt_packet.qos(), optional(:retain) => boolean}}
          | {:reply, GenServer.from(), term}

  require MQTT.Server.Callbacks
  MQTT.Server.Callbacks.define()

  @doc false
  defmacro __using__(_) do
    quote location: :keep do
      @behaviour MQTT.Server

      @doc false
      def handle_publish(_topic, _message, _opts, state), do: {:ok, state}

      @doc false
      def handle_subscribe(_topic, _qos, state), do: {:ok, :failed, state}

      @doc false
      def handle_unsubscribe(_topic, state), do: {:ok, state}

      @doc false
      def handle_call(call, from, state) do
        {:ok, state, {:reply, from, {:error, {:bad_call, call}}}}
      end

      @doc false
      def handle_cast(_cast, state), do: {:ok, state}

      @doc false
      def handle_info(_info, state), do: {:ok, state}

      @doc false
      def terminate(_reason, _state), do: :ok

      @doc false
      def code_change(_old_vsn, state, _extra), do: {:ok, state}

      defoverridable MQTT.Server
    end
  end

  @typedoc """
  What `info/1` says: the bytes that wait because the client reads too slowly, and the messages that were
  dropped for that.
  """
  @type info :: %{queued_bytes: non_neg_integer, dropped_messages: non_neg_integer}

  @doc """
  What a connection has counted, by its process. Exits the caller as `GenServer.call/2` does.
  """
  @spec info(GenServer.server()) :: info
  defdelegate info(process), to: Connection

  @doc """
  Turns the calling process into the connection of an accepted socket, and never returns.

  The process must have been started by `:proc_lib`, as all processes of OTP behaviours and of
  `Task` are, and must own the socket. `args` goes to `c:init/2`. The options are those of the
  module's documentation; a wrong one raises an `ArgumentError`.

  What the caller would do afterwards, in an `after` for instance, is not done: the process hibernates
  when it is idle, which forgets its stack. `c:terminate/2` is the place for it.

  ## Examples

      defmodule Acceptor do
        def loop(listen_socket) do
          {:ok, socket} = :gen_tcp.accept(listen_socket)

          pid =
            :proc_lib.spawn(fn ->
              receive do: (:yours -> :ok)
              MQTT.Server.enter_loop(Echo, [], MQTT.Transport.new(:tcp, socket))
            end)

          :ok = :gen_tcp.controlling_process(socket, pid)
          send(pid, :yours)
          loop(listen_socket)
        end
      end

  """
  @spec enter_loop(module, args :: term, MQTT.Transport.t(), options :: keyword) :: no_return
  def enter_loop(module, args, transport, options \\ []) do
    Connection.enter_loop(module, args, transport, Options.new(options))
  end

  @doc """
  Ends a connection: `c:terminate/2` is called with `:normal`, and what was published before is sent.

  Waits until the process has ended, and exits the caller if it does not exist.
  """
  @spec stop(pid) :: :ok
  def stop(pid), do: :gen_server.stop(pid)

  @doc "As `stop/1`, with a reason, and at most `timeout` milliseconds to wait."
  @spec stop(pid, reason :: term, timeout) :: :ok
  def stop(pid, reason, timeout), do: :gen_server.stop(pid, reason, timeout)
end
