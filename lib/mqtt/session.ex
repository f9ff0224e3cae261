defmodule MQTT.Session do
  @moduledoc """
  What outlives the connections of a client (section 4.1): the messages of QoS 1 and 2 that it does not
  have yet, the packet identifiers of those of QoS 2 that it has sent and not released, and its
  subscriptions.

  A session is data and not a process. It lives as long as something refers to it: a handler that
  wants to keep it for a client identifier puts it into an ETS table, for instance, and gives it to the
  client's next connection from `c:MQTT.Server.init/2`:

      def init(_table, %{client_id: ""}), do: {:stop, :identifier_rejected}

      def init(table, %{client_id: client_id}) do
        session =
          case :ets.lookup(table, client_id) do
            [{_, session}] -> session
            [] -> MQTT.Session.new()
          end

        :ets.insert(table, {client_id, session})
        {:ok, client_id, {:session, session}}
      end

  The library does the rest. CONNACK says whether the session is present; Clean Start (before MQTT 5.0
  Clean Session) empties it; what an earlier connection left unacknowledged is sent again, in the
  original order; subscriptions are added and removed as they are acknowledged. A session has one
  connection at a time: the one before is ended with `{:shutdown, :session_taken_over}`.

  How long it is to be kept after the connection is the handler's to see to, in `c:MQTT.Server.terminate/2`:
  `info/1` has the `:expiry_interval`. There and in every callback `current/0` gives the session of the
  connection. A connection without one of these has a session of its own, which ends with it.

  `examples/sessions.exs` is a server that does all this.

  ## Options

  #{MQTT.Options.docs(MQTT.Server.Options.session_schema())}
  """

  alias MQTT.{Native, Options}

  @typedoc "A session. Two are equal if they are the same one."
  @opaque t :: reference

  @typedoc """
  What a session holds: its `:size` in bytes of memory, about; messages that wait (`:queued`), that are
  sent and not acknowledged (`:inflight`), that were not sent (`:dropped`); messages of QoS 2 from the
  client that it has not released (`:received`); the seconds it is to be kept after the connection
  (`:expiry_interval`); and the process of its connection, if there is one.
  """
  @type info :: %{
          size: non_neg_integer,
          queued: non_neg_integer,
          inflight: non_neg_integer,
          received: non_neg_integer,
          dropped: non_neg_integer,
          expiry_interval: non_neg_integer | :infinity,
          connection: pid | nil
        }

  @doc "A session that nobody has used. A wrong option raises an `ArgumentError`."
  @spec new(keyword) :: t
  def new(options \\ []), do: Native.session_new(validate!(options))

  @doc "The session that the connection of the calling process was given, or `nil`. Another connection may have it since."
  @spec current() :: t | nil
  def current, do: Process.get(:"$mqtt_session")

  @doc false
  def put_current(session), do: Process.put(:"$mqtt_session", session)

  @doc """
  Puts a message into the session. If the client is connected it is sent at once, otherwise when it
  comes back. Options are `:qos`, `:max_qos`, `:retain` and `:properties`, as in a publish action.

  A message of QoS 0 for a client that is not connected is dropped, which is `{:error,
  :not_connected}`; one for a session that holds as much as it may is `{:error, :queue_full}`. What
  cannot be published at all raises an `ArgumentError`.

      iex> session = MQTT.Session.new()
      iex> MQTT.Session.publish(session, "a/b", "hello", %{qos: 1})
      :ok
      iex> MQTT.Session.info(session).queued
      1
      iex> MQTT.Session.publish(session, "a/b", "hello")
      {:error, :not_connected}

  """
  @spec publish(t, topic :: iodata, message :: iodata, map | keyword) ::
          :ok | {:error, :not_connected | :queue_full}
  def publish(session, topic, message, options \\ %{}) do
    options = options |> Options.to_map() |> Map.delete(:ref)

    case Native.session_publish(session, topic, message, options) do
      {:error, {:invalid, reason}} ->
        Options.wrong_message(reason, options)

      result ->
        result
    end
  end

  @doc "What the session holds."
  @spec info(t) :: info
  def info(session), do: Native.session_info(session)

  @doc """
  The client's subscriptions, by their filters, with the options that were granted: `:qos`,
  `:no_local`, `:retain_as_published`, `:retain_handling`, and `:subscription_identifier` if it has one.
  """
  @spec subscriptions(t) :: [{filter :: String.t(), options :: map}]
  def subscriptions(session), do: Native.session_subscriptions(session)

  @doc """
  Empties the session, as a client does that connects with Clean Start. Of one that has a connection
  only what waits and the subscriptions are forgotten.
  """
  @spec clear(t) :: :ok
  def clear(session), do: Native.session_clear(session)

  @doc """
  The session as a binary, to be stored. The times of messages that expire go on.

      iex> session = MQTT.Session.new()
      iex> :ok = MQTT.Session.publish(session, "a", "b", %{qos: 2})
      iex> {:ok, copy} = session |> MQTT.Session.export() |> MQTT.Session.import()
      iex> MQTT.Session.info(copy).queued
      1

  """
  @spec export(t) :: binary
  def export(session), do: Native.session_export(session)

  @doc "A session from such a binary, with the options of `new/1`; `{:error, :invalid}` for another one."
  @spec import(binary, keyword) :: {:ok, t} | {:error, :invalid}
  def import(binary, options \\ []), do: Native.session_import(binary, validate!(options))

  defp validate!(options) do
    Options.validate!(options, MQTT.Server.Options.session_schema(), "MQTT.Session")
  end
end
